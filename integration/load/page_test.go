package load

// Four blocks of commands in docs/develop.md work: the start, the login, the control of the
// stand-in, and the fleet. The test replaces the addresses and the code, and adds options to curl.

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
)

// blockAfter returns the lines of the first indented block after text.
func blockAfter(t *testing.T, page, text string) []string {
	t.Helper()
	_, rest, found := strings.Cut(page, text)
	block := regexp.MustCompile(`(?m)(?:^    .*\n)+`).FindString(rest)
	if !found || block == "" {
		t.Fatalf("docs/develop.md has no block of commands after %q", text)
	}
	return strings.Split(strings.TrimSpace(block), "\n")
}

func TestDevelopPageWorksAsWritten(t *testing.T) {
	text, err := os.ReadFile("../../docs/develop.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	lines := blockAfter(t, page, "and then igproxy with the stand-in as its upstream:")
	if len(lines) != 4 || !strings.HasSuffix(lines[0], " &") || strings.TrimSpace(lines[3]) != "igproxy serve" {
		t.Fatalf("the block is %q, want one line that starts the stand-in, two with variables, and igproxy serve", lines)
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
				t.Errorf("an exchange by one of 20 callers: got %d %s, %v; want 200", status, body, err)
			}
		})
	}
	callers.Wait()
	login := blockAfter(t, page, "exchange the code as the app does:")
	quiet := func(line string) string {
		return here(strings.ReplaceAll(strings.Replace(strings.TrimSpace(line), "curl ", "curl -sS --fail --noproxy '*' ", 1), "http://127.0.0.1:8080", p.URL))
	}
	code := regexp.MustCompile(`"code":"([^"]+)"`).FindStringSubmatch(harness.Program(t, nil, quiet(login[0]), "sh"))
	if code == nil || len(login) != 2 {
		t.Fatalf("the commands of the login are %q; want two commands, and a code in the output of the first", login)
	}
	if out := harness.Program(t, nil, strings.Replace(quiet(login[1]), "CODE", code[1], 1), "sh"); !strings.Contains(out, `"access_token":"IG`) {
		t.Errorf("the login ended with %s, want a token", out)
	}

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
		if strings.Contains(line, "__latency") { // so that the rest of the test is not slow
			harness.Program(t, nil, here("curl -sS --fail --noproxy '*' -X POST 'http://127.0.0.1:8081/__latency?d=1ms'"), "sh")
		}
		if strings.Contains(line, "mode=down") {
			if cold, known := status(fmt.Sprintf("IGAA-down-%d", i)), status("IGAA-user-1"); cold != 502 || known != 200 {
				t.Errorf("down: a new token got %d, want 502; a known token got %d, want 200", cold, known)
			}
		}
		if strings.Contains(line, "mode=limit4") && status(fmt.Sprintf("IGAA-limited-%d", i)) == 200 {
			t.Error("limit4: a new token got 200, want an error")
		}
	}
	// One call for the 20 callers, a call and its retry while Instagram was down, and one call that
	// hit the limit.
	if !strings.Contains(said["__stats"], `"exchange":4`) || len(said) != 5 {
		t.Errorf("the commands printed %q, want 5 outputs, and 4 exchanges in the output of __stats", said)
	}

	// redis.timeout is longer than the default, because the machine may be busy.
	lines = blockAfter(t, page, "any other Redis. Then, with the variables from above:")
	settings = append(settings, "REDIS_TIMEOUT=250ms")
	for _, assignment := range strings.Fields(lines[0])[1:] {
		settings = append(settings, strings.TrimPrefix(strings.ReplaceAll(assignment, "redis://127.0.0.1:6379/0", redistest.Start(t).URL()), "IGPROXY_"))
	}
	fleet := []*harness.Process{harness.Serve(t, settings...), harness.Serve(t, settings...)}
	harness.Crowd(len(fleet), func(i int) {
		if status, body, err := harness.Get(t.Context(), fleet[i].URL+harness.ExchangePath("IGAA-user-fleet")); err != nil || status != 200 {
			t.Errorf("an exchange by sidecar %d of the fleet: got %d %s, %v; want 200", i, status, body, err)
		}
	})
	if stats := harness.Program(t, nil, quiet("curl http://127.0.0.1:8081/__stats"), "sh"); !strings.Contains(stats, `"exchange":5`) {
		t.Errorf("after two sidecars on one Redis exchanged one token: __stats printed %s, want 5 exchanges, one more than before", stats)
	}
}
