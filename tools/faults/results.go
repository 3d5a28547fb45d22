package main

import (
	"encoding/json"
	"io"
	"strings"
)

// results holds the outcome of a go test -json run, by package and test.
type results struct {
	ended   map[string]string // pass, fail or skip
	seconds map[string]float64
	output  map[string]string // of each top-level test and its subtests, at most about 4 KiB, without igproxy's log
	build   strings.Builder   // the compiler's errors
}

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

const module = "github.com/igproxy/igproxy/"

// read reads the output of a run to its end, or to the first line that is not an event. Whenever a
// test or a subtest passes, read calls progress with the number of those that have passed.
func read(r io.Reader, progress func(passed int)) results {
	got := results{ended: map[string]string{}, seconds: map[string]float64{}, output: map[string]string{}}
	passed := 0
	for events := json.NewDecoder(r); ; {
		var e event
		if events.Decode(&e) != nil {
			return got
		}
		if e.Action == "build-output" {
			got.build.WriteString(e.Output)
		}
		if e.Test == "" { // an event of a whole package
			continue
		}
		pkg := strings.TrimPrefix(e.Package, module)
		key := pkg + "." + e.Test
		switch e.Action {
		case "output":
			name, _, _ := strings.Cut(e.Test, "/")
			if top := pkg + "." + name; !strings.HasPrefix(strings.TrimSpace(e.Output), "{") && len(got.output[top]) < 4<<10 {
				got.output[top] += e.Output
			}
		case "pass", "fail", "skip":
			got.ended[key], got.seconds[key] = e.Action, e.Elapsed
			if e.Action == "pass" {
				passed++
				progress(passed)
			}
		}
	}
}

// why returns the reason why a row does not hold, or "" if it holds.
func (got results) why(r row) string {
	if len(r.tests) == 0 {
		return "no test is cited"
	}
	for _, c := range r.tests {
		switch got.ended[c.key()] {
		case "pass":
		case "fail":
			return c.key() + " failed"
		case "skip":
			return c.key() + " was skipped"
		default:
			return c.key() + " did not run"
		}
		for key, end := range got.ended {
			if end == "skip" && strings.HasPrefix(key, c.key()+"/") {
				return key + " was skipped"
			}
		}
	}
	return ""
}

// took returns how long the longest test of a row took.
func (got results) took(r row) (seconds float64) {
	for _, c := range r.tests {
		seconds = max(seconds, got.seconds[c.key()])
	}
	return seconds
}
