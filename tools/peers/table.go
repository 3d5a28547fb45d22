package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	beginMark = "<!-- measured: make bench-peers writes what is between these marks -->\n"
	endMark   = "<!-- end -->"
)

// between replaces the text between the marks of a page.
func between(page, text string) (string, error) {
	before, rest, begun := strings.Cut(page, beginMark)
	_, after, ended := strings.Cut(rest, endMark)
	if !begun || !ended {
		return "", fmt.Errorf("no %q with %q after it", beginMark, endMark)
	}
	return before + beginMark + text + endMark + after, nil
}

// quiet is a share of both cores. If other programs and the host use more, the page has a warning.
const quiet = 0.05

type column struct{ key, head string }

// allColumns lists the servers in the order of the table.
var allColumns = []column{
	{sidecarName, "igproxy"}, {nginxName, "nginx"}, {"varnish", "Varnish"}, {"bare", "net/http"}, {fasthttpName, "fasthttp"}, {floorName, "epoll loop"},
	{"direct", "no sidecar"},
}

// columns returns the servers that were measured in this run.
func (r *report) columns() (measured []column) {
	for _, c := range allColumns {
		if slices.ContainsFunc(r.Rows, func(row row) bool { _, ok := row.median(c.key); return ok }) {
			measured = append(measured, c)
		}
	}
	return measured
}

// markdown returns the table with a description of the machine and the run.
func (r *report) markdown() string {
	var w strings.Builder
	m, v := r.Machine, r.Versions
	fmt.Fprintf(&w, "%s, %s, %d cores, %s, Linux %s. igproxy %s (Go %s), nginx %s, Varnish %s, Redis %s, wrk %s.\n", r.When, m.CPU, m.Cores, m.Memory, m.Kernel,
		v["igproxy"], v["go"], v["nginx"], v["varnish"], v["redis"], v["wrk"])
	quick := ""
	if r.Quick {
		quick = ", a quick run"
	}
	fmt.Fprintf(&w, "Medians of %d rounds of %d s each%s; wrk used at most %.0f %% of its core; on average, other programs and the host used %.0f %% of the two cores.\n", r.Rounds, r.Seconds,
		quick, 100*r.Loader, 100*r.Others)
	if r.Others > quiet {
		w.WriteString("**The machine was not quiet**: times are too long, and rates and p99 are not reliable, even if they meet their goals. Counts, sizes, and CPU time relative to nginx's are still meaningful.\n")
	}
	w.WriteString("\n")
	goals, met := r.table(&w, r.Rows)
	fmt.Fprintf(&w, "\n%d of %d goals met.\n", met, goals)
	return w.String()
}

// readmeRows are the keys of the rows in README: a hit, a burst and a miss.
var readmeRows = []string{"hit1.cpu", "burst500.last", "miss.p50"}

// short returns the table for README.
func (r *report) short() string {
	var w strings.Builder
	var rows []row
	for _, row := range r.Rows {
		if slices.Contains(readmeRows, row.Key) {
			rows = append(rows, row)
		}
	}
	r.table(&w, rows)
	fmt.Fprintf(&w, "\n%s, %s, %d cores, one for the server and one for everything else; igproxy %s.\n", r.When, r.Machine.CPU, r.Machine.Cores, r.Versions["igproxy"])
	return w.String()
}

// table writes rows. It returns the numbers of their goals and of the goals that are met.
func (r *report) table(w *strings.Builder, rows []row) (goals, met int) {
	columns := r.columns()
	w.WriteString("| |")
	for _, c := range columns {
		w.WriteString(" " + c.head + " |")
	}
	w.WriteString(" vs nginx | goal | |\n|---|" + strings.Repeat("--:|", len(columns)+1) + "---|---|\n")
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |", row.What)
		for _, c := range columns {
			text := ""
			if value, ok := row.median(c.key); ok {
				text = number(value) + unit(row.Unit)
			}
			fmt.Fprintf(w, " %s |", text)
		}
		ratio := ""
		if value, ok := row.ratio(); ok {
			ratio = number(value) + " ×"
		}
		fmt.Fprintf(w, " %s | %s | %s |\n", ratio, row.Goal.text(row.Unit), row.verdict())
		if row.Goal != nil {
			goals++
			if row.met() {
				met++
			}
		}
	}
	return goals, met
}

func (r row) verdict() string {
	switch {
	case r.Goal == nil:
		return ""
	case r.met():
		return "met"
	}
	return "**missed**"
}

func (g *goal) text(u string) string {
	if g == nil {
		return ""
	}
	sign := map[string]string{"most": "≤ ", "least": "≥ "}[g.Bound]
	if g.Times != "" {
		return sign + number(g.Value) + " × " + headOf(g.Times)
	}
	return sign + number(g.Value) + unit(u)
}

func headOf(key string) string {
	for _, c := range allColumns {
		if c.key == key {
			return c.head
		}
	}
	return key
}

func unit(u string) string {
	if u == "" || u == "/s" {
		return u
	}
	return " " + u
}

// number formats v. From 1,000 up, it writes a whole number with commas. Below that, it writes at
// most three significant digits and two decimals.
func number(v float64) string {
	switch {
	case v < 0:
		return "-" + number(-v)
	case v >= 1000:
		s := strconv.FormatFloat(v, 'f', 0, 64)
		for i := len(s) - 3; i > 0; i -= 3 {
			s = s[:i] + "," + s[i:]
		}
		return s
	case v >= 100 || v == float64(int(v)):
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

// shortLists puts each list of numbers in JSON text on one line.
func shortLists(text string) string {
	list := regexp.MustCompile(`\[\s+([-\d.e+,\s]+?)\s+\]`)
	space := regexp.MustCompile(`\s+`)
	return list.ReplaceAllStringFunc(text, func(s string) string {
		return "[" + space.ReplaceAllString(list.FindStringSubmatch(s)[1], " ") + "]"
	})
}
