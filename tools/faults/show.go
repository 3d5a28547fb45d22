package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	widest = 62 // the most characters in a column; longer text is cut off

	// The codes of ANSI escape sequences.
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

// show prints the table and returns the number of rows that hold.
func show(w io.Writer, rows []row, got results, colours bool, took time.Duration) (held int) {
	paint := func(colour, s string) string {
		if !colours {
			return s
		}
		return "\x1b[" + colour + "m" + s + "\x1b[0m"
	}
	faults, sees, costs := 0, 0, 0
	for _, r := range rows {
		faults, sees, costs = max(faults, width(r.fault)), max(sees, width(r.sees)), max(costs, width(r.cost))
	}
	fmt.Fprintf(w, "%s\n", paint(dim, fmt.Sprintf("      #  %s  %s  %s    time", pad("fault", faults), pad("the app sees", sees), pad("calls", costs))))
	group := ""
	for _, r := range rows {
		if r.group != group {
			group = r.group
			fmt.Fprintf(w, "\n%s\n", paint(bold, group))
		}
		mark, why := paint(green, "✓"), got.why(r)
		if why == "" {
			held++
		} else {
			mark = paint(red, "✗")
		}
		fmt.Fprintf(w, "  %s %s  %s  %s  %s  %s\n", mark, paint(dim, fmt.Sprintf("%3d", r.number)), pad(r.fault, faults), pad(r.sees, sees),
			pad(r.cost, costs), paint(dim, fmt.Sprintf("%5.1fs", got.took(r))))
		if why != "" {
			fmt.Fprintf(w, "        %s\n", paint(red, why))
		}
	}
	colour := green
	if held < len(rows) {
		colour = red
	}
	fmt.Fprintf(w, "\n%s  %s\n", paint(colour, fmt.Sprintf("%d of %d hold", held, len(rows))),
		paint(dim, "in "+took.Round(time.Second).String()))
	return held
}

func width(s string) int { return min(utf8.RuneCountInString(s), widest) }

// pad fills s with spaces to the given width in characters, and cuts off what exceeds widest.
func pad(s string, columns int) string {
	if letters := []rune(s); len(letters) > widest {
		s = string(letters[:widest-1]) + "…"
	}
	return s + strings.Repeat(" ", max(min(columns, widest)-utf8.RuneCountInString(s), 0))
}
