package main

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// row is one fault in docs/faults.md.
type row struct {
	group             string
	number            int
	fault, sees, cost string // the cells "fault", "what the app sees" and "calls to Meta"
	tests             []citation
}

// citation names a test: `TestX/a case` in the folder integration, or `proxy.TestX` in the folder
// proxy.
type citation struct{ pkg, test string }

// key returns the folder, a dot, and the test's name as go test -json writes it: with underscores
// for the spaces in a subtest's name.
func (c citation) key() string { return c.pkg + "." + strings.ReplaceAll(c.test, " ", "_") }

func (c citation) top() string {
	top, _, _ := strings.Cut(c.test, "/")
	return top
}

const home = "integration" // the folder of tests that are cited without a folder

var cited = regexp.MustCompile("`(?:([a-z]+(?:/[a-z]+)*)\\.)?((?:Test|Fuzz)[^`]+)`")

// parse reads the rows of the table: lines that start with a bar and a number, grouped by
// second-level headings.
func parse(text string) (rows []row, err error) {
	group := ""
	for n, line := range strings.Split(text, "\n") {
		if heading, ok := strings.CutPrefix(line, "## "); ok {
			group = heading
		}
		cells := strings.Split(line, "|")
		if len(cells) < 2 {
			continue
		}
		number, bad := strconv.Atoi(strings.TrimSpace(cells[1]))
		if bad != nil {
			continue
		}
		if len(cells) != 8 {
			return nil, fmt.Errorf("docs/faults.md:%d: a row must have six cells (number, fault, how, app, calls, tests), not %d", n+1, len(cells)-2)
		}
		plain := func(i int) string { return strings.ReplaceAll(strings.TrimSpace(cells[i]), "`", "") }
		r := row{group: group, number: number, fault: plain(2), sees: plain(4), cost: plain(5)}
		for _, m := range cited.FindAllStringSubmatch(cells[6], -1) {
			c := citation{m[1], m[2]}
			if c.pkg == "" {
				c.pkg = home
			}
			r.tests = append(r.tests, c)
		}
		rows = append(rows, r)
	}
	if len(rows) == 0 {
		return nil, errors.New("docs/faults.md has no rows")
	}
	return rows, nil
}
