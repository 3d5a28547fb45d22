package integration

// With Redis a restart loses nothing: the next process serves what the previous process cached,
// without calling Instagram.

import (
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

func TestRestartKeepsTheCache(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	redis := redistest.Start(t)
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "REDIS_MODE=single", "REDIS_URL=" + redis.URL()}

	first := serve(t, settings...)
	want := first.ask(t, "IGAA-restart")
	refused := first.ask(t, "expired-restart")
	if code := first.Stop(t); code != 0 {
		t.Fatalf("exit code %d, want 0", code)
	}

	second := serve(t, settings...)
	got := second.ask(t, "IGAA-restart")
	if got.status != 200 || got.token() != want.token() || !strings.HasPrefix(got.header.Get("Cache-Status"), "igproxy; hit") {
		t.Errorf("after the restart: got %d with Cache-Status %q and the token %q, want 200 with a hit and the token %q", got.status, got.header.Get("Cache-Status"), got.token(), want.token())
	}
	if again := second.ask(t, "expired-restart"); again.status != 400 || again.body != refused.body {
		t.Errorf("the remembered refusal after the restart: got %d %s, want 400 %s", again.status, again.body, refused.body)
	}
	if ig.Calls() != 2 {
		t.Errorf("%d calls, want 2", ig.Calls())
	}
	eventually(t, "the log says that the answer came from Redis", func() bool {
		lines := second.Log.Lines("request")
		return len(lines) > 0 && lines[0]["source"] == "redis"
	})
}

// Two apps with one Redis never read each other's entries.
func TestAnAppDoesNotReadAnotherAppsEntriesInRedis(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	_, upstream := instagram(t, mock.ServerOptions{})
	settings := []string{"UPSTREAM_URL=" + upstream.URL, "REDIS_MODE=single", "REDIS_URL=" + redis.URL()}
	first := serve(t, settings...)
	first.ask(t, "IGAA-mine")
	first.Stop(t)
	other := serve(t, append(settings, "APP_ID=17841400000000002")...)
	if r := other.ask(t, "IGAA-mine"); r.header.Get("Cache-Status") != "igproxy; fwd=miss; stored" {
		t.Errorf("the token of another app: got Cache-Status %q, want a miss that is stored", r.header.Get("Cache-Status"))
	}
}
