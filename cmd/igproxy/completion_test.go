package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// The scripts for bash and zsh ask the binary; the one for fish is written out.
func TestCompletionKnowsEveryCommandAndOption(t *testing.T) {
	path := asProcess(t)
	asked := func(args string) []string { // in a process of its own: the library looks at its arguments
		c := exec.Command("sh", "-c", "igproxy "+args+" --generate-bash-completion")
		c.Env = []string{path}
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", args, err, out)
		}
		return strings.Fields(string(out))
	}
	app := newApp(environment{})
	_, fish, _ := command(t, nil, "completion", "fish")
	commands := asked("")
	for _, c := range app.Commands {
		if !slices.Contains(commands, c.Name) || !strings.Contains(fish, "-a '"+c.Name+"'") {
			t.Errorf("%s is not completed", c.Name)
		}
		if len(c.Flags) == 0 {
			continue
		}
		options := asked(c.Name + " -")
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				inFish := " -l " + name
				if len(name) == 1 {
					inFish = " -s " + name
				}
				if name != "h" && name != "help" && (!slices.Contains(options, dashed(name)) || !strings.Contains(fish, inFish)) {
					t.Errorf("%s %s is not completed; bash has %q", c.Name, dashed(name), options)
				}
			}
		}
	}
}
