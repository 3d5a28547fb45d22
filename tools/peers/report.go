package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
)

// report is the result of a run, stored in docs/performance.json.
type report struct {
	When     string            `json:"when"`
	Quick    bool              `json:"quick"`
	Rounds   int               `json:"rounds"`
	Seconds  int               `json:"seconds_a_round"`
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Loader   float64           `json:"busiest_wrk"` // the largest share of the load core that wrk used in a round
	Others   float64           `json:"others"`      // share of both cores that other programs and the host used
	Rows     []row             `json:"rows"`
}

// row is one measurement. The pages show the medians of Rounds.
type row struct {
	Key    string  `json:"key"`
	What   string  `json:"what"`
	Unit   string  `json:"unit"`
	Rounds figures `json:"rounds"`
	Goal   *goal   `json:"goal,omitempty"`
}

// figures holds the values of each server. Most measurements give one value per round.
type figures map[string][]float64

func (f figures) add(server string, value float64) { f[server] = append(f[server], value) }

const sidecarName = "igproxy"

// goal is a limit for igproxy's median: a value, or a multiple of another server's median in the
// same run.
type goal struct {
	Bound string  `json:"bound"` // most, least or exactly
	Value float64 `json:"value"`
	Times string  `json:"times,omitempty"` // the server whose median is multiplied by Value
}

func atMost(v float64, times ...string) *goal  { return newGoal("most", v, times) }
func atLeast(v float64, times ...string) *goal { return newGoal("least", v, times) }
func exactly(v float64) *goal                  { return newGoal("exactly", v, nil) }

func newGoal(bound string, v float64, times []string) *goal {
	g := &goal{Bound: bound, Value: v}
	if len(times) > 0 {
		g.Times = times[0]
	}
	return g
}

func (r *report) add(key, what, unit string, f figures, g *goal) {
	r.Rows = append(r.Rows, row{key, what, unit, f, g})
}

// row returns the row with this key.
func (r *report) row(key string) (row, bool) {
	for _, row := range r.Rows {
		if row.Key == key {
			return row, true
		}
	}
	return row{}, false
}

// median returns a server's median, and false if the server was not measured.
func (r row) median(server string) (float64, bool) {
	all := r.Rounds[server]
	return median(all), len(all) > 0
}

// ratio returns igproxy's median divided by nginx's.
func (r row) ratio() (float64, bool) {
	ours, ok := r.median(sidecarName)
	theirs, also := r.median(nginxName)
	if !ok || !also || theirs == 0 {
		return 0, false
	}
	return ours / theirs, true
}

// met reports whether igproxy's median meets the goal.
func (r row) met() bool {
	ours, ok := r.median(sidecarName)
	bound := r.Goal.Value
	if r.Goal.Times != "" {
		theirs, also := r.median(r.Goal.Times)
		bound, ok = bound*theirs, ok && also
	}
	switch r.Goal.Bound {
	case "most":
		return ok && ours <= bound
	case "least":
		return ok && ours >= bound
	}
	return ok && ours == bound
}

const dataFile, pageFile, pictureFile, readmeFile = "performance.json", "performance.md", "performance.svg", "../README.md"

func readReport(docs string) (*report, error) {
	text, err := os.ReadFile(filepath.Join(docs, dataFile))
	if err != nil {
		return nil, err
	}
	r := &report{}
	return r, json.Unmarshal(text, r)
}

// write writes the data and the picture, and replaces the tables in performance.md and README.md.
func (r *report) write(docs string) error {
	for _, row := range r.Rows {
		for _, values := range row.Rounds {
			for i, v := range values { // digits after the fifth are noise
				values[i], _ = strconv.ParseFloat(strconv.FormatFloat(v, 'g', 5, 64), 64)
			}
		}
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	contents := map[string]string{dataFile: shortLists(string(data)) + "\n", pictureFile: r.picture()}
	for name, table := range map[string]string{pageFile: r.markdown(), readmeFile: r.short()} {
		page, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			return err
		}
		if contents[name], err = between(string(page), table); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(docs, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}
