package load

// The commands of docs/develop.md work as they are written, except for the ports.

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// blockAfter returns the lines of the first indented block after text.
func blockAfter(t *testing.T, page, text string) []string {
	t.Helper()
	_, rest, found := strings.Cut(page, text)
	block := regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindString(rest)
	if !found || block == "" {
		t.Fatalf("no block after %q", text)
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}

func TestStandInPageWorksAsWritten(t *testing.T) {
	text, err := os.ReadFile("../../docs/develop.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	lines := blockAfter(t, page, "and the app in front of igproxy:")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], " &") || strings.TrimSpace(lines[3]) != "igproxy serve" {
		t.Fatalf("the block is %q", lines)
	}
	_, url := harness.Mock(t, strings.Fields(strings.TrimSuffix(lines[0], " &"))[2:]...)
	here := func(s string) string { return strings.ReplaceAll(s, "http://127.0.0.1:8081", url) }
	var settings []string
	for _, line := range lines[1:3] {
		for _, assignment := range strings.Fields(here(line))[1:] {
			settings = append(settings, strings.TrimPrefix(assignment, "IGPROXY_"))
		}
	}
	p := harness.Serve(t, settings...)
	var callers sync.WaitGroup
	for range 20 {
		callers.Go(func() {
			if status, body, err := harness.Get(t.Context(), p.URL+harness.ExchangePath("IGAA-user-1")); err != nil || status != 200 {
				t.Errorf("got %d %s, %v", status, body, err)
			}
		})
	}
	callers.Wait()
	status := func(token string) int {
		code, _, err := harness.Get(t.Context(), p.URL+harness.ExchangePath(token))
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	said := map[string]string{}
	for i, line := range blockAfter(t, page, "Control the stand-in while the app runs:") {
		line, _, _ = strings.Cut(strings.TrimSpace(line), " #")
		out := harness.Program(t, nil, here(strings.Replace(line, "curl ", "curl -sS --fail --noproxy '*' ", 1)), "sh")
		said[regexp.MustCompile(`__\w+(\?mode=\w*)?`).FindString(line)] = out
		if strings.Contains(line, "__latency") { // the test is slow enough
			harness.Program(t, nil, here("curl -sS --fail --noproxy '*' -X POST 'http://127.0.0.1:8081/__latency?d=1ms'"), "sh")
		}
		if strings.Contains(line, "mode=down") && (status(fmt.Sprintf("IGAA-down-%d", i)) != 502 || status("IGAA-user-1") != 200) {
			t.Error("down: a new token got an answer, or a known one did not")
		}
		if strings.Contains(line, "mode=limit4") && status(fmt.Sprintf("IGAA-limited-%d", i)) == 200 {
			t.Error("limit4: a new token got an answer")
		}
	}
	// One call for the 20 callers, two (with a retry) for the caller while Instagram was down, and
	// one for the caller that hit the limit.
	if !strings.Contains(said["__code"], `"code"`) || !strings.Contains(said["__stats"], `"exchange":4`) || len(said) != 6 {
		t.Errorf("the commands printed %q", said)
	}
}
