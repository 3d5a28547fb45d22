package integration

// A client that starts with HTTP/2 without TLS (prior knowledge) gets an error that it can read: a
// GOAWAY in HTTP/2. This applies to the listener for apps and to the admin listener.

import (
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestHTTP2WithPriorKnowledgeGetsAReadableError(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	curl := func(option, url string) string {
		return harness.Program(t, nil, "", "/bin/sh", "-c", `curl -sv --max-time 10 "$0" "$1" 2>&1 || echo "exit $?"`, option, url)
	}
	for _, lane := range []string{"true", "false"} {
		p := serve(t, "UPSTREAM_URL="+upstream.URL, "SERVER_FAST_LANE="+lane)
		for _, url := range []string{p.URL + exchangePath("IGAA-h2c"), p.Admin + "/healthz"} {
			if got := curl("--http2-prior-knowledge", url); !strings.Contains(got, "GOAWAY, error=13") && !strings.Contains(got, "HTTP_1_1_REQUIRED") {
				t.Errorf("prior knowledge, fast lane %s, %s: want a GOAWAY with HTTP_1_1_REQUIRED, got\n%s", lane, url, got)
			}
			if got := curl("--http2", url); !strings.Contains(got, "< HTTP/1.1 200") {
				t.Errorf("upgrade, fast lane %s, %s: want 200 over HTTP/1.1, got\n%s", lane, url, got)
			}
		}
		eventually(t, "the log has two lines \"http2 refused\"", func() bool { return len(p.Log.Lines("http2 refused")) >= 2 })
		if code := p.Stop(t); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
	}
	if n := ig.Calls(); n != 2 {
		t.Errorf("Instagram was asked %d times, want 2: once by each igproxy", n)
	}
}
