// Command faults checks the table in docs/faults.md. It runs the tests that the table cites, and
// prints the table with a tick for each row that holds. A row holds if it cites at least one test,
// and all its tests passed and skipped no subtest.
//
//	go run -C tools ./faults            runs the tests, as make faults does
//	go run -C tools ./faults -from FILE reads the output of go test -json and runs nothing
//
// The exit code is 0 if every row holds, and 1 if a row does not hold. It is 2 if the table or FILE
// cannot be read, or if go test cannot be started.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

func main() {
	root := flag.String("root", "..", "the `folder` of the repository")
	from := flag.String("from", "", "read the output of go test -json from this `file` instead of running the tests")
	flag.Parse()
	code, err := prove(*root, *from)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	os.Exit(code)
}

func prove(root, from string) (code int, err error) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "faults.md"))
	if err != nil {
		return 2, err
	}
	rows, err := parse(string(text))
	if err != nil {
		return 2, err
	}
	start := time.Now()
	var got results
	if from != "" {
		recorded, err := os.ReadFile(from)
		if err != nil {
			return 2, err
		}
		got = read(bytes.NewReader(recorded), func(int) {})
	} else if got, err = run(root, rows); err != nil {
		return 2, err
	}
	held := show(os.Stdout, rows, got, colourful(os.Stdout), time.Since(start))
	if held < len(rows) {
		explain(os.Stderr, rows, got)
		return 1, nil
	}
	return 0, nil
}

// run runs the cited tests, one package at a time, because concurrent tests of several packages
// disturb each other's timing.
func run(root string, rows []row) (results, error) {
	var names, packages []string
	for _, r := range rows {
		for _, c := range r.tests {
			names = append(names, regexp.QuoteMeta(c.top()))
			packages = append(packages, "./"+c.pkg)
		}
	}
	slices.Sort(names)
	slices.Sort(packages)
	args := []string{"test", "-json", "-count=1", "-p=1", "-timeout=30m", "-run=^(" + strings.Join(slices.Compact(names), "|") + ")$"}
	cmd := exec.Command("go", append(args, slices.Compact(packages)...)...)
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return results{}, err
	}
	if err := cmd.Start(); err != nil {
		return results{}, err
	}
	progress := func(int) {}
	if terminal(os.Stderr) {
		progress = func(passed int) { fmt.Fprintf(os.Stderr, "\r%d tests have passed ", passed) }
	}
	got := read(out, progress)
	if terminal(os.Stderr) {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	_ = cmd.Wait() // the error would only say that a test failed; got says which test
	return got, nil
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// colourful reports whether to print colours, following https://no-color.org.
func colourful(f *os.File) bool {
	return terminal(f) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// explain prints the output of the tests that failed, and the compiler's errors.
func explain(w io.Writer, rows []row, got results) {
	printed := map[string]bool{}
	for _, r := range rows {
		for _, c := range r.tests {
			if key := c.pkg + "." + c.top(); got.ended[c.key()] == "fail" && !printed[key] {
				printed[key] = true
				fmt.Fprintf(w, "\n--- %s\n%s", key, got.output[key])
			}
		}
	}
	fmt.Fprint(w, got.build.String())
}
