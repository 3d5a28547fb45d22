package integration

// `igproxy status` prints what the status page shows, and does not need the client secret.

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestStatusCommandShowsTheRequestsAndNeedsNoClientSecret(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	for range 4 {
		_ = p.ask(t, "IGAA-short")
	}
	env := without(environ("ADMIN_LISTEN="+strings.TrimPrefix(p.Admin, "http://")), "IGPROXY_CLIENT_SECRET")
	eventually(t, "the output has the requests", func() bool {
		code, stdout, stderr := command(t, env, "status")
		if code != 0 || stderr != "" {
			t.Fatalf("exit code %d, want 0; standard error %q, want \"\"; standard output:\n%s", code, stderr, stdout)
		}
		return strings.Contains(stdout, "token 4") && strings.Contains(stdout, "75.0%") && strings.Contains(stdout, "3 by the cache")
	})
	var got struct{ State struct{ Ready bool } }
	if code, stdout, _ := command(t, env, "status", "--json"); code != 0 || json.Unmarshal([]byte(stdout), &got) != nil || !got.State.Ready || strings.Contains(stdout, appSecret) {
		t.Errorf("--json: exit code %d, want 0; want JSON with ready true and without the client secret in:\n%s", code, stdout)
	}
}
