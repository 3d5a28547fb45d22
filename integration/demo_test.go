package integration

// The demo is the first thing that a newcomer runs, so it needs no settings and no other program.
// The stand-in for Meta, which the demo contains, can also run as a separate process.

import (
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

func TestDemoRunsToItsEndWithoutSettings(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := command(t, []string{"HOME=/nonexistent"}, "demo", "--once")
	if code != 0 || stderr != "" {
		t.Errorf("exit code %d, want 0 with nothing on standard error\n%s\n%s", code, stdout, stderr)
	}
	for _, want := range []string{"50 of 50 callers", "calls to Meta for this token so far: 1", `"code":190`, "503", "Cache-Status: igproxy; hit",
		"Facebook Login", "✓ Meta refuses the token", "✓ igproxy sent the call with the successor", "✓ Meta signed it", "< 403", "✓ it is forged"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the demo does not show %q:\n%s", want, stdout)
		}
	}
}

func TestDemoStaysUpUntilCtrlC(t *testing.T) {
	t.Parallel()
	p := start(t, nil, "demo")
	eventually(t, "the demo prints the commands to try", func() bool { return strings.Contains(p.Log.String(), "grep ^igproxy") })
	page := regexp.MustCompile(`status page.*\n +(http://\S+/)\n`).FindStringSubmatch(p.Log.String())
	if page == nil {
		t.Fatalf("the demo does not print the URL of the status page:\n%s", p.Log.String())
	}
	if status, body, err := harness.Get(t.Context(), page[1]); err != nil || status != 200 || !strings.Contains(body, "<title>igproxy") {
		t.Errorf("%s: got %d, %v; want 200 with \"<title>igproxy\"", page[1], status, err)
	}
	_ = p.Cmd.Process.Signal(syscall.SIGINT)
	if code := p.Wait(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestASidecarUsesAStandInThatIsAnotherProcess(t *testing.T) {
	t.Parallel()
	ca := t.TempDir() + "/ca.pem"
	mock := start(t, nil, "mock", "--listen", "127.0.0.1:0", "--tls", "--ca-out", ca, "--secret", appSecret)
	const listening = "mock listening"
	eventually(t, "the stand-in listens", func() bool { return len(mock.Log.Lines(listening)) > 0 })
	p := serve(t, "UPSTREAM_URL="+mock.Log.Lines(listening)[0]["url"].(string), "UPSTREAM_CA_FILE="+ca)
	if r := p.ask(t, "IGAA-mock"); r.status != 200 {
		t.Errorf("got %d %s, want 200", r.status, r.body)
	}
	if code := mock.Stop(t); code != 0 {
		t.Errorf("exit code of igproxy mock %d, want 0", code)
	}
	http.DefaultClient.CloseIdleConnections()
}
