package clients

import (
	"regexp"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// fenced returns README's first code block in a language.
func fenced(t *testing.T, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(slurp(t, "../../README.md"), "```"+language+"\n")
	code, _, closed := strings.Cut(rest, "```")
	if !found || !closed {
		t.Fatalf("README has no code block in %s", language)
	}
	return code
}

// README's examples for the shell, Python and JavaScript work as written, except for the port.
func TestReadmeExamplesWorkAsWritten(t *testing.T) {
	ig, upstream := harness.Instagram(t, mock.ServerOptions{})
	p := harness.Serve(t, "UPSTREAM_URL="+upstream.URL)
	here := func(code string) string { return strings.ReplaceAll(code, "http://127.0.0.1:8080", p.URL) }
	answer := harness.Program(t, nil, here(fenced(t, "sh")), "sh")
	if !regexp.MustCompile(`^\{"access_token":"IGAA[^"]+","token_type":"bearer","expires_in":51\d{5}\}$`).MatchString(strings.TrimSpace(answer)) {
		t.Errorf("curl printed %s, want JSON with an IGAA token that lasts about 60 days", answer)
	}
	long := ig.Issued("SHORT")[0]
	if got := harness.Program(t, nil, "short = 'SHORT'\n"+here(fenced(t, "python"))+"\nprint(long_lived)\n", "python3", "-"); strings.TrimSpace(got) != long {
		t.Errorf("Python got %q, want the long-lived token %q", got, long)
	}
	if got := harness.Program(t, nil, "const short = 'SHORT';\n"+here(fenced(t, "js"))+"\nconsole.log(access_token);\n", "node", "--input-type=module", "-"); strings.TrimSpace(got) != long {
		t.Errorf("Node got %q, want the long-lived token %q", got, long)
	}
	if ig.Calls() != 1 {
		t.Errorf("calls to Meta for one token: got %d, want 1", ig.Calls())
	}
}
