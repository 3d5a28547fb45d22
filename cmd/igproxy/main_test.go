package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// command runs a command line in this process.
func command(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(context.Background(), append([]string{"igproxy"}, args...), environment{stdout: &out, stderr: &err, environ: environ})
	if strings.Contains(out.String()+err.String(), canary) {
		t.Errorf("%v printed the secret:\n%s%s", args, out.String(), err.String())
	}
	return code, out.String(), err.String()
}

// canary is the client secret of these tests. No output may contain it.
const canary = "s3cr3t-canary-0123456789"

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

var withSecret = []string{"IGPROXY_CLIENT_SECRET=" + canary}

func TestAWrongCommandLineIsReportedInOneLine(t *testing.T) {
	for line, want := range map[string]string{
		"srve":                            `unknown command "srve"; see igproxy --help. Did you mean "serve"?`,
		"help nonsense":                   `No help topic for 'nonsense'. Did you mean "serve"?`,
		"--nope":                          `flag provided but not defined: -nope; see igproxy --help`,
		"serve --nope":                    `flag provided but not defined: -nope; see igproxy serve --help`,
		"serve --config":                  `flag needs an argument: -config; see igproxy serve --help`,
		"serve now":                       `serve takes no argument, got "now"; see igproxy serve --help`,
		"serve now --config x":            `serve takes no argument, got "now"; see igproxy serve --help`,
		"serve help":                      `serve takes no argument, got "help"; see igproxy serve --help`,
		"check igproxy.yaml":              `check takes no argument, got "igproxy.yaml"; see igproxy check --help`,
		"demo twice":                      `demo takes no argument, got "twice"; see igproxy demo --help`,
		"mock here":                       `mock takes no argument, got "here"; see igproxy mock --help`,
		"healthcheck now --timeout 1s":    `healthcheck takes no argument, got "now"; see igproxy healthcheck --help`,
		"healthcheck --timeout soon":      `invalid value "soon" for flag -timeout: parse error; see igproxy healthcheck --help`,
		"mock --ca-out ca.pem":            `--ca-out needs --tls`,
		"serve --config /nowhere/ig.yaml": `/nowhere/ig.yaml: does not exist; create it, or correct the path`,
	} {
		code, stdout, stderr := command(t, withSecret, strings.Fields(line)...)
		if code != exitUsage || stdout != "" || stderr != "igproxy: "+want+"\n" {
			t.Errorf("igproxy %s: exit code %d, want 2\ngot  %s%swant igproxy: %s", line, code, stdout, stderr, want)
		}
	}
}

func TestRuntimeFailuresExitWithCode1(t *testing.T) {
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
			t.Errorf("%v: exit code %d, want 1\ngot  %s%swant igproxy: %s", c.args, code, stdout, stderr, want)
		}
	}
}

func TestWrongConfigurationIsReportedInOneLinePerProblem(t *testing.T) {
	// The last variable causes only a warning, which is not printed if there are errors.
	environ := []string{"IGPROXY_LOG_LEVEL=loud", "IGPROXY_LOG_FORMAT=xml", "IGPROXY_ADMIN_LISTEN=0.0.0.0:1"}
	code, stdout, stderr := command(t, environ, "serve")
	want := `igproxy: environment: IGPROXY_LOG_FORMAT: "xml" is not an allowed value; write auto, json or text
igproxy: environment: IGPROXY_LOG_LEVEL: "loud" is not an allowed value; write debug, info, warn or error
igproxy: client_secret: no client secret; set IGPROXY_CLIENT_SECRET_FILE (or client_secret_file) to the path of a file that holds it, or IGPROXY_CLIENT_SECRET to the secret itself
`
	if code != exitUsage || stdout != "" || stderr != want {
		t.Errorf("exit code %d, want 2\ngot\n%swant\n%s", code, stderr, want)
	}
}

func TestCheckPrintsEachNextStepOnItsOwnLine(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "igproxy.yaml", "lisen: x\nclient_secret: "+canary+"\nlog:\n  level: loud\n")
	code, stdout, stderr := command(t, nil, "check", "--config", "igproxy.yaml")
	want := `error    igproxy.yaml:1: lisen: unknown key
         did you mean listen?
warning  igproxy.yaml:2: client_secret: a secret in the configuration file
         use client_secret_file or IGPROXY_CLIENT_SECRET instead
error    igproxy.yaml:4: log.level: "loud" is not an allowed value
         write debug, info, warn or error

Errors to fix: 2.
`
	if code != exitUsage || stdout != want || stderr != "" {
		t.Errorf("exit code %d, want 2\ngot\n%s%swant\n%s", code, stdout, stderr, want)
	}
	code, stdout, stderr = command(t, withSecret, "check")
	want = `ok       configuration
         listen 127.0.0.1:8080, admin 127.0.0.1:9090
         open to every program on this machine
         operations off (a reload is possible with SIGHUP)
         apps default
         upstream https://graph.instagram.com
         egress direct
         cache memory
         keep off
         traces off
`
	if code != exitOK || stdout != want || stderr != "" {
		t.Errorf("exit code %d, want 0\ngot\n%s%swant\n%s", code, stdout, stderr, want)
	}
}

func TestCheckSaysWhatIsIntercepted(t *testing.T) {
	t.Chdir(t.TempDir())
	code, shown, stderr := command(t, nil, "ca", "init", "--dir", "ca")
	fingerprint := regexp.MustCompile(`SHA-256 +([0-9A-F:]{11})`).FindStringSubmatch(shown)
	ends := regexp.MustCompile(`ends +(\S+)`).FindStringSubmatch(shown)
	if code != exitOK || fingerprint == nil || ends == nil {
		t.Fatalf("ca init: exit code %d, want 0, a fingerprint and an end\n%s%s", code, shown, stderr)
	}
	code, stdout, stderr := command(t, append([]string{"IGPROXY_INTERCEPT_LISTEN=127.0.0.1:8081", "IGPROXY_INTERCEPT_CA_FILE=ca/igproxy-ca.pem",
		"IGPROXY_INTERCEPT_CA_KEY_FILE=ca/igproxy-ca.key"}, withSecret...), "check")
	want := "\n         intercept 127.0.0.1:8081, authority " + fingerprint[1] + "... until " + ends[1] + ", other hosts: refuse\n"
	if code != exitOK || !strings.Contains(stdout, want) || stderr != "" {
		t.Errorf("exit code %d, want 0\ngot\n%s%swant a line%s", code, stdout, stderr, want)
	}
}

// A setting may come from three places, and an operator must not have to guess which one counts.
func TestCheckShowsWhereEachSettingComesFrom(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "secret", canary)
	write(t, "igproxy.yaml", "client_secret_file: ./secret\ncache:\n  ttl: 2h\nlog:\n  level: warn\n")
	code, stdout, stderr := command(t, []string{"IGPROXY_LOG_LEVEL=error", "IGPROXY_REDIS_PASSWORD=" + canary, "IGPROXY_REDIS_MODE=single", "IGPROXY_REDIS_ADDRS=localhost:1"},
		"check", "--show", "--config", "igproxy.yaml")
	columns := map[string]string{}
	for line := range strings.Lines(stdout) {
		if key, rest, ok := strings.Cut(line, " "); ok && key != "" {
			columns[key] = strings.Join(strings.Fields(rest), " ")
		}
	}
	for key, want := range map[string]string{"listen": "127.0.0.1:8080 default", "cache.ttl": "2h igproxy.yaml:3", "log.level": "error IGPROXY_LOG_LEVEL",
		"client_secret": "set client_secret_file", "client_secret_file": "./secret igproxy.yaml:1", "redis.password": "set IGPROXY_REDIS_PASSWORD",
		"redis.username": "- default", "cache.max_bytes": "- default"} {
		if columns[key] != want {
			t.Errorf("%s is shown as %q, want %q", key, columns[key], want)
		}
	}
	hidden := "warning  environment: IGPROXY_LOG_LEVEL: overrides igproxy.yaml:5, which sets the same key\n         remove one of the two\n"
	if code != exitOK || stderr != "" || !strings.Contains(stdout, hidden) || strings.Contains(stdout, canary) {
		t.Errorf("exit code %d, want 0, and no secret in the output\n%s%swant %s", code, stdout, stderr, hidden)
	}
}

func TestHelpFlagAndHelpCommandPrintTheSame(t *testing.T) {
	for _, c := range newApp(environment{}).Commands {
		code, help, stderr := command(t, nil, c.Name, "--help")
		_, short, _ := command(t, nil, c.Name, "-h")
		_, byHelp, _ := command(t, nil, "help", c.Name)
		if code != exitOK || stderr != "" || short != help || byHelp != help || !strings.HasPrefix(help, "NAME:\n   igproxy "+c.Name+" - ") {
			t.Errorf("%s: exit code %d, want 0, and the same text from --help, -h and help\n%s%s", c.Name, code, help, stderr)
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"-h"}, {"help"}} {
		if code, help, stderr := command(t, nil, args...); code != exitOK || stderr != "" || !strings.Contains(help, "\n   serve ") {
			t.Errorf("%v: exit code %d, want 0 and the list of commands\n%s%s", args, code, help, stderr)
		}
	}
}

func TestVersionFlagPrintsTheVersionsOfIgproxyAndGo(t *testing.T) {
	code, stdout, _ := command(t, nil, "--version")
	if code != exitOK || !strings.HasPrefix(stdout, "igproxy version ") || !strings.HasSuffix(stdout, ", "+runtime.Version()+")\n") {
		t.Errorf("exit code %d, want 0, the version of igproxy, and that of Go\n%s", code, stdout)
	}
}
