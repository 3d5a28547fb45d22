package integration

// The load recipes run as they are, each for a second, and do what their names say: a hit costs one exchange in all, a miss one each, a
// burst of 200 callers one.

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/proxytest"
)

func TestLoadRecipes(t *testing.T) {
	fast, err := plain()
	if err != nil {
		t.Fatal(err)
	}
	for _, recipe := range []struct{ script, mode, says string }{
		{"wrk.sh", "hit", `[1-9]\d* requests in`},
		{"wrk.sh", "miss", `[1-9]\d* requests in`},
		{"hey.sh", "hit", `Status code distribution:\n  \[200\]\t[1-9]\d* responses\n\n*$`},
		{"hey.sh", "burst", `Status code distribution:\n  \[200\]\t200 responses\n\n*$`},
		{"ab.sh", "hit", `Complete requests: +[1-9]\d*\nFailed requests: +0\n`},
		{"ab.sh", "burst", `Complete requests: +200\nFailed requests: +0\n`},
		{"vegeta.sh", "hit", `Success +\[ratio\] +100.00%`},
		{"vegeta.sh", "miss", `Success +\[ratio\] +100.00%`},
	} {
		t.Run(recipe.script+" "+recipe.mode, func(t *testing.T) {
			ig, upstream := instagram(t, proxytest.ServerOptions{})
			p := startBinary(t, fast, environ("UPSTREAM_URL="+upstream.URL, "LOG_LEVEL=info"), "serve")
			p.listening(t)
			out := script(t, []string{"IGPROXY=" + p.url, "LOAD=1"}, "load/"+recipe.script, recipe.mode)
			if !regexp.MustCompile(recipe.says).MatchString(out) || strings.Contains(out, "Non-2xx") {
				t.Errorf("it does not say %s:\n%s", recipe.says, out)
			}
			tokens := p.counted(t, `igproxy_requests_total\{.*outcome="token".*\}`)
			all := p.counted(t, `igproxy_requests_total\{.*\}`) - p.counted(t, `igproxy_requests_total\{.*outcome="gone".*\}`) // wrk ends in the middle
			if tokens < 50 || tokens != all {
				t.Errorf("%d requests got a token, of %d", tokens, all)
			}
			if recipe.mode == "miss" && ig.Calls() < tokens || recipe.mode != "miss" && ig.Calls() != 1 {
				t.Errorf("Instagram was asked %d times for %d answers", ig.Calls(), tokens)
			}
		})
	}
}

// make load starts what it needs, tells the sidecar's own figures, and leaves nothing behind.
func TestMakeLoad(t *testing.T) {
	tmp := t.TempDir()
	out := script(t, []string{"LOAD=1", "TMPDIR=" + tmp}, "make", "--no-print-directory", "-C", "..", "load")
	figures := regexp.MustCompile(`(?m)^exchange +token +memory +\d{2,} +[\d.]+ +[\d.]+
exchange +token +upstream +(\d{2,}) +[\d.]+ +[\d.]+
Instagram was asked (\d+) times\.$`).FindStringSubmatch(out)
	if figures == nil || figures[1] != figures[2] {
		t.Errorf("it does not tell the sidecar's figures, or Instagram was asked more than once for a token:\n%s", out)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestLoadGoesToLoopbackOnly(t *testing.T) {
	for _, name := range []string{"wrk.sh", "hey.sh", "ab.sh", "vegeta.sh", "k6.sh"} {
		cmd := exec.CommandContext(t.Context(), "load/"+name, "hit")
		cmd.Env = append(os.Environ(), "IGPROXY=https://graph.instagram.com", "LOAD=1")
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "loopback only") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// script runs a program to its end.
func script(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // the first use of vegeta builds it
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v (if a program is missing, run make test)\n%s", program, args, err, out)
	}
	return string(out)
}

// counted is the sum of all counters of this pattern.
func (p *process) counted(t *testing.T, pattern string) (sum int) {
	t.Helper()
	for _, line := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(p.page(t, "/metrics").body, -1) {
		n, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += int(n)
	}
	return sum
}
