package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
	"go.uber.org/goleak"
)

// asCommand makes the test's own binary igproxy, for what only a process can show.
const asCommand = "RUN_IGPROXY=1"

func TestMain(m *testing.M) {
	if slices.Contains(os.Environ(), asCommand) {
		main()
	}
	goleak.VerifyTestMain(m)
}

// command runs igproxy in this process.
func command(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(context.Background(), append([]string{"igproxy"}, args...), environment{stdout: &out, stderr: &err, environ: environ})
	if strings.Contains(out.String()+err.String(), canary) {
		t.Errorf("%v printed the secret:\n%s%s", args, out.String(), err.String())
	}
	return code, out.String(), err.String()
}

var withSecret = []string{"IGPROXY_CLIENT_SECRET=" + canary}

func TestAWrongCommandLineIsOneClearLine(t *testing.T) {
	for line, want := range map[string]string{
		"srve":                            `unknown command "srve"; did you mean serve?`,
		"nonsense":                        `unknown command "nonsense"; see igproxy --help`,
		"help nonsense":                   `unknown command "nonsense"; see igproxy --help`,
		"help serve check":                `help takes one command at most`,
		"--nope":                          `unknown option --nope; see igproxy --help`,
		"serve --nope":                    `unknown option --nope; see igproxy serve --help`,
		"serve -n":                        `unknown option -n; see igproxy serve --help`,
		"serve --config":                  `--config needs a value; see igproxy serve --help`,
		"serve now":                       `serve takes no argument, got "now"; see igproxy serve --help`,
		"serve now --config x":            `serve takes no argument, got "now"; see igproxy serve --help`,
		"serve help":                      `serve takes no argument, got "help"; see igproxy serve --help`,
		"check igproxy.yaml":              `check takes no argument, got "igproxy.yaml"; see igproxy check --help`,
		"demo twice":                      `demo takes no argument, got "twice"; see igproxy demo --help`,
		"mock here":                       `mock takes no argument, got "here"; see igproxy mock --help`,
		"version 2":                       `version takes no argument, got "2"; see igproxy version --help`,
		"healthcheck now --timeout 1s":    `healthcheck takes no argument, got "now"; see igproxy healthcheck --help`,
		"healthcheck --timeout soon":      `--timeout: invalid value "soon"; see igproxy healthcheck --help`,
		"mock --ca-out ca.pem":            `--ca-out needs --tls`,
		"completion":                      `completion takes one argument: bash, zsh or fish`,
		"completion tcsh":                 `completion knows bash, zsh and fish, not "tcsh"`,
		"completion bash zsh":             `completion takes one argument: bash, zsh or fish`,
		"serve --config /nowhere/ig.yaml": `/nowhere/ig.yaml: does not exist; create it, or correct the path`,
	} {
		code, stdout, stderr := command(t, withSecret, strings.Fields(line)...)
		if code != exitUsage || stdout != "" || stderr != "igproxy: "+want+"\n" {
			t.Errorf("igproxy %s: exit code %d\ngot  %s%swant igproxy: %s", line, code, stdout, stderr, want)
		}
	}
}

func TestWhatFailsWhileRunningExitsWithOne(t *testing.T) {
	busy := loopback(t).Addr().String()
	for want, c := range map[string]struct{ environ, args []string }{
		"listen: " + busy + " is in use":                  {append(withSecret[:1:1], "IGPROXY_LISTEN="+busy), []string{"serve"}},
		"admin.listen: " + busy + " is in use":            {append(withSecret[:1:1], "IGPROXY_LISTEN=127.0.0.1:0", "IGPROXY_ADMIN_LISTEN="+busy), []string{"serve"}},
		"--listen: " + busy + " is in use":                {nil, []string{"mock", "--listen", busy}},
		"--listen: cannot listen on nope: address nope":   {nil, []string{"mock", "--listen", "nope"}},
		"--ca-out: cannot write /nowhere/ca.pem: no such": {nil, []string{"mock", "--listen", "127.0.0.1:0", "--tls", "--ca-out", "/nowhere/ca.pem"}},
		"no answer from 127.0.0.1:1; is igproxy serve":    {[]string{"IGPROXY_ADMIN_LISTEN=127.0.0.1:1"}, []string{"healthcheck"}},
	} {
		code, stdout, stderr := command(t, c.environ, c.args...)
		if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "igproxy: "+want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%v: exit code %d\ngot  %s%swant igproxy: %s", c.args, code, stdout, stderr, want)
		}
	}
}

func TestAWrongConfigurationIsOneLineAProblem(t *testing.T) {
	environ := []string{"IGPROXY_LOG_LEVEL=loud", "IGPROXY_LOG_FORMAT=xml", "IGPROXY_ADMIN_LISTEN=0.0.0.0:1"} // the last one brings a warning only
	code, stdout, stderr := command(t, environ, "serve")
	want := `igproxy: environment: IGPROXY_LOG_FORMAT: "xml" is none of its values; write auto, json or text
igproxy: environment: IGPROXY_LOG_LEVEL: "loud" is none of its values; write debug, info, warn or error
igproxy: client_secret: no client secret; set IGPROXY_CLIENT_SECRET_FILE (or client_secret_file) to a file that holds it, or IGPROXY_CLIENT_SECRET
`
	if code != exitUsage || stdout != "" || stderr != want {
		t.Errorf("exit code %d\ngot\n%swant\n%s", code, stderr, want)
	}
}

func TestCheckTellsEachNextStepOnItsOwnLine(t *testing.T) {
	configFiles(t)
	write(t, "igproxy.yaml", "lisen: x\nclient_secret: "+canary+"\nlog:\n  level: loud\n")
	code, stdout, stderr := command(t, nil, "check", "--config", "igproxy.yaml")
	want := `error    igproxy.yaml:1: lisen: unknown key
         did you mean listen?
warning  igproxy.yaml:2: client_secret: a secret in the configuration file
         keep secrets out of the file: use client_secret_file or IGPROXY_CLIENT_SECRET
error    igproxy.yaml:4: log.level: "loud" is none of its values
         write debug, info, warn or error

2 problems to mend.
`
	if code != exitUsage || stdout != want || stderr != "" {
		t.Errorf("exit code %d\ngot\n%s%swant\n%s", code, stdout, stderr, want)
	}
	code, stdout, stderr = command(t, withSecret, "check")
	want = `ok       configuration
         listen 127.0.0.1:8080, admin 127.0.0.1:9090
         open to every program on this machine
         apps default
         upstream https://graph.instagram.com
         cache memory
         traces off
`
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d\ngot\n%s%swant\n%s", code, stdout, stderr, want)
	}
}

func TestHelpListsEveryOptionWithin80Columns(t *testing.T) {
	app := newApp(environment{})
	for _, c := range app.Commands {
		code, help, stderr := command(t, nil, c.Name, "--help")
		_, short, _ := command(t, nil, c.Name, "-h")
		_, byHelp, _ := command(t, nil, "help", c.Name)
		start := "igproxy " + c.Name + ": " + c.Usage + "\n\nUsage: igproxy " + c.Name
		if c.Name == "help" { // its own help is that of all
			start = "igproxy: "
		}
		if code != exitOK || stderr != "" || short != help || byHelp != help || !strings.HasPrefix(help, start) {
			t.Errorf("%s: exit code %d, or three ways with different help\n%s%s", c.Name, code, help, stderr)
		}
		listed(t, c.Name, help, c.Flags)
	}
	for _, args := range [][]string{nil, {"--help"}, {"-h"}, {"help"}} {
		code, help, stderr := command(t, nil, args...)
		if code != exitOK || stderr != "" {
			t.Errorf("%v: exit code %d: %s", args, code, stderr)
		}
		listed(t, "igproxy", help, app.Flags)
		for _, c := range app.Commands {
			if !strings.Contains(help, "\n  "+c.Name+" ") {
				t.Errorf("%v: no %s in\n%s", args, c.Name, help)
			}
		}
	}
}

func listed(t *testing.T, name, help string, flags []cli.Flag) {
	t.Helper()
	for _, f := range flags {
		for _, n := range f.Names() {
			if !strings.Contains(help, dashed(n)) {
				t.Errorf("%s: no %s in\n%s", name, dashed(n), help)
			}
		}
	}
	for line := range strings.Lines(help) {
		line = strings.TrimSuffix(line, "\n")
		if len([]rune(line)) > helpWidth || strings.TrimRight(line, " \t") != line {
			t.Errorf("%s: too long, or a blank at its end: %q", name, line)
		}
	}
	if strings.Contains(help, "\n\n\n") || strings.Contains(help, "{{") || !strings.HasSuffix(help, "\n") || strings.HasSuffix(help, "\n\n") {
		t.Errorf("%s: too many or too few line breaks, or a template:\n%q", name, help)
	}
}

func TestVersionIsTheSameBothWays(t *testing.T) {
	code, stdout, _ := command(t, nil, "version")
	_, flag, _ := command(t, nil, "--version")
	if code != exitOK || stdout != flag || !strings.HasPrefix(stdout, "igproxy ") || !strings.Contains(stdout, "\ngo      "+runtime.Version()+"\n") {
		t.Errorf("exit code %d\n%s%s", code, stdout, flag)
	}
}

// asProcess puts a command named igproxy, which is this test's binary, into a folder, and returns the PATH that finds it.
func asProcess(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	script := "#!/bin/sh\n" + asCommand + " exec '" + self + "' \"$@\"\n"
	if err := os.WriteFile(filepath.Join(folder, "igproxy"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return "PATH=" + folder + ":" + os.Getenv("PATH")
}

func TestCompletionScriptsAreReadByTheirShells(t *testing.T) {
	for shell, needed := range map[string]bool{"bash": true, "zsh": false, "fish": false} {
		code, script, stderr := command(t, nil, "completion", shell)
		if code != exitOK || stderr != "" || !strings.HasSuffix(script, "\n") {
			t.Errorf("%s: exit code %d, %s", shell, code, stderr)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			if needed {
				t.Error(err)
			}
			continue // whoever has it reads it
		}
		c := exec.Command(path, "-n", "/dev/stdin")
		c.Stdin = strings.NewReader(script)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v\n%s", shell, err, out)
		}
	}
}

func TestBashCompletesCommandsOptionsAndShells(t *testing.T) {
	path := asProcess(t)
	for typed, want := range map[string]string{
		"igproxy ser": "serve", "igproxy ver": "version", "igproxy serve --con": "--config", "igproxy mock --ca": "--ca-out", "igproxy completion z": "zsh",
		"igproxy help moc": "mock",
	} {
		words := strings.Fields(typed)
		c := exec.Command("bash", "-c", `source <(igproxy completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _igproxy; echo "${COMPREPLY[*]}"`)
		c.Args = append(append(c.Args, "bash"), words...)
		c.Env = []string{path}
		if out, err := c.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s: got %q, %v; want %s", typed, out, err, want)
		}
	}
}
