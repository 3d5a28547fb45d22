package load

// Each load recipe except k6.sh runs unchanged, with LOAD=1, and does what its argument says: all
// hits together cost one exchange, each miss costs one, and a burst of 200 callers costs one.

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestLoadRecipesGetATokenForEveryRequest(t *testing.T) {
	fast := harness.Plain(t)
	for _, recipe := range []struct{ script, mode, output string }{ // output is a regular expression
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
			ig, upstream := harness.Instagram(t, mock.ServerOptions{})
			p := harness.StartCommand(t, harness.Environ("UPSTREAM_URL="+upstream.URL, "LOG_LEVEL=info"), exec.Command(fast, "serve"))
			p.Listening(t)
			out := harness.Program(t, []string{"IGPROXY=" + p.URL, "LOAD=1"}, "", "./"+recipe.script, recipe.mode)
			if !regexp.MustCompile(recipe.output).MatchString(out) || strings.Contains(out, "Non-2xx") {
				t.Errorf("want output that matches %s and has no \"Non-2xx\", got\n%s", recipe.output, out)
			}
			// When wrk ends, it abandons requests. igproxy may still answer some of them while the
			// test reads the counters. Others get the outcome "gone".
			tokens, all := 0, -1
			for tries := 0; tries < 50 && tokens != all; tries++ {
				tokens = counted(t, p, `igproxy_requests_total\{.*outcome="token".*\}`)
				all = counted(t, p, `igproxy_requests_total\{.*\}`) - counted(t, p, `igproxy_requests_total\{.*outcome="gone".*\}`)
			}
			if tokens < 50 || tokens != all {
				t.Errorf("%d of %d requests got a token, want all of them and at least 50", tokens, all)
			}
			if recipe.mode == "miss" && ig.Calls() < tokens || recipe.mode != "miss" && ig.Calls() != 1 {
				t.Errorf("Instagram was asked %d times for %d answers, want once in the modes hit and burst, and at least once per answer in the mode miss", ig.Calls(), tokens)
			}
		})
	}
}

// make load prints the sidecar's own metrics, and leaves no file behind.
func TestMakeLoadPrintsMetricsAndLeavesNoFile(t *testing.T) {
	tmp := t.TempDir()
	out := harness.Program(t, []string{"LOAD=1", "TMPDIR=" + tmp}, "", "make", "--no-print-directory", "-C", "../..", "load")
	figures := regexp.MustCompile(`(?m)^exchange +token +memory +\d{2,} +[\d.]+ +[\d.]+
exchange +token +upstream +(\d{2,}) +[\d.]+ +[\d.]+
Instagram was asked (\d+) times\.$`).FindStringSubmatch(out)
	if figures == nil || figures[1] != figures[2] {
		t.Errorf("want the sidecar's metrics, with one call to Instagram for each exchange with the source upstream, got\n%s", out)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("files that make load left in TMPDIR: got %v, %v; want 0 files", left, err)
	}
}

func TestLoadGoesToLoopbackOnly(t *testing.T) {
	for _, name := range []string{"wrk.sh", "hey.sh", "ab.sh", "vegeta.sh", "k6.sh"} {
		cmd := exec.CommandContext(t.Context(), "./"+name, "hit")
		cmd.Env = append(os.Environ(), "IGPROXY=https://graph.instagram.com", "LOAD=1")
		out, err := cmd.CombinedOutput()
		if err == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "loopback only") {
			t.Errorf("%s: got %v, want exit code 2 with \"loopback only\" in the output:\n%s", name, err, out)
		}
	}
}

// counted returns the sum of all counters that match a pattern.
func counted(t *testing.T, p *harness.Process, pattern string) (sum int) {
	t.Helper()
	_, metrics, err := harness.Get(t.Context(), p.Admin+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		n, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += int(n)
	}
	return sum
}
