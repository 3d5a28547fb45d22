// Command progress reads the output of go test -json. It prints a line for each top-level test when
// the test ends, all output of failed tests, and the summary of each package as go test prints it.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output string
	Elapsed                       float64
}

func main() {
	output := map[string]string{} // by top-level test, including its subtests
	for events := json.NewDecoder(os.Stdin); ; {
		var e event
		if events.Decode(&e) != nil {
			return
		}
		top, _, isSubtest := strings.Cut(e.Test, "/")
		switch {
		case e.Action == "output" && e.Test != "":
			output[top] += e.Output
		case e.Action == "output" && e.Output != "PASS\n", e.Action == "build-output":
			fmt.Print(e.Output)
		case isSubtest:
		case e.Test != "" && (e.Action == "pass" || e.Action == "skip"):
			fmt.Printf("   %s %5.1fs  %s\n", e.Action, e.Elapsed, e.Test)
			delete(output, top)
		case e.Test != "" && e.Action == "fail":
			fmt.Printf("   FAIL %5.1fs  %s\n%s", e.Elapsed, e.Test, output[top])
			delete(output, top)
		case e.Action == "fail": // of a package: a panic or a timeout leaves unfinished tests
			for _, text := range output {
				fmt.Print(text)
			}
		}
	}
}
