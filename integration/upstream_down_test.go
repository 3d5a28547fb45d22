package integration

// Instagram fails. Each of the first cold tokens costs one or two failed calls. Then the breaker
// opens, and cold tokens get a fast 503 with Retry-After. Known tokens need no calls. Once
// Instagram is back, one successful trial call closes the breaker.

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestWhileInstagramIsDownKnownTokensAreServedAndColdTokensFailFast(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "BREAKER_OPEN=1s")
	known := p.ask(t, "IGAA-known")

	ig.SetFault("down")
	before := ig.Calls()
	refused := 0
	for i := range 200 {
		r := p.ask(t, fmt.Sprintf("IGAA-cold-%d", i))
		switch e := r.graphError(t); {
		case r.status == 502 && e.Code == 2 && e.Transient:
		case r.status == 503 && e.Code == 2 && e.Transient:
			if seconds, err := strconv.Atoi(r.header.Get("Retry-After")); err != nil || seconds < 1 {
				t.Fatalf("got Retry-After %q, want at least 1", r.header.Get("Retry-After"))
			}
			refused++
		default:
			t.Fatalf("got %d %+v, want a transient 502 or 503 with code 2", r.status, e)
		}
		if i%20 == 0 {
			if r := p.ask(t, "IGAA-known"); r.status != 200 || r.token() != known.token() {
				t.Fatalf("a known token got %d while Instagram was down; want 200 with the same token", r.status)
			}
		}
	}
	if calls := ig.Calls() - before; calls > 20 || refused == 0 {
		t.Errorf("200 cold tokens cost %d calls (want at most 20), and %d of the tokens were refused at once (want some)", calls, refused)
	}
	if body := p.page(t, "/readyz"); body.status != 200 {
		t.Errorf("/readyz after the failures: got %d %s, want 200", body.status, body.body)
	}

	ig.SetFault("")
	eventually(t, "the breaker closes", func() bool { return p.ask(t, "IGAA-after").status == 200 })
	var states []string
	for _, line := range p.settled(t).Lines("breaker changed") {
		states = append(states, line["to"].(string))
	}
	if got := strings.Join(states, " "); !strings.HasPrefix(got, "open half-open") || !strings.HasSuffix(got, "closed") {
		t.Errorf("the log has the states %q, want open and half-open first, and closed last", got)
	}
}

// A rate limit starts a pause, during which all cold tokens of the app get Instagram's own error.
// The breaker does not count a rate limit as a failure.
func TestRateLimitPausesTheApp(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	known := p.ask(t, "IGAA-known")
	if r := p.ask(t, "limit4-1"); r.status != 400 || r.graphError(t).Code != 4 || r.header.Get("Retry-After") == "" {
		t.Fatalf("the call that met the limit: got %d %s, want 400 with code 4 and Retry-After", r.status, r.body)
	}
	calls := ig.Calls()
	for i := range 10 {
		r := p.ask(t, fmt.Sprintf("IGAA-cold-%d", i))
		if e := r.graphError(t); r.status != 429 || e.Code != 4 || r.header.Get("Retry-After") == "" {
			t.Fatalf("during the pause: got %d %+v, want 429 with code 4 and Retry-After", r.status, e)
		}
	}
	if r := p.ask(t, "IGAA-known"); r.status != 200 || r.token() != known.token() {
		t.Errorf("a known token got %d; want 200 with the same token", r.status)
	}
	if ig.Calls() != calls {
		t.Errorf("Instagram was asked %d times during the pause, want 0", ig.Calls()-calls)
	}
	if body := p.page(t, "/readyz").body; !strings.Contains(body, `"breaker":"closed"`) {
		t.Errorf("/readyz after a rate limit: got %s, want \"breaker\":\"closed\"", body)
	}
}

// A refused client secret is a fault of the configuration, not of a token. igproxy logs one error,
// is not ready, and remembers no token as refused.
func TestARefusedClientSecretCostsOneCallAndMakesTheSidecarUnready(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "CLIENT_SECRET=wrong-"+appSecret)
	before := p.page(t, "/readyz")
	for i := range 10 {
		if r := p.ask(t, fmt.Sprintf("IGAA-%d", i)); r.status != 400 || r.graphError(t).Code != 100 {
			t.Fatalf("got %d %s, want 400 with code 100", r.status, r.body)
		}
	}
	if ig.Calls() != 1 {
		t.Errorf("10 tokens cost %d calls with a wrong secret, want 1", ig.Calls())
	}
	if before.status != 200 || !strings.Contains(before.body, `"client_secret":"unproven"`) {
		t.Errorf("/readyz before the first call: got %d %s, want 200 with \"client_secret\":\"unproven\"", before.status, before.body)
	}
	if r := p.page(t, "/readyz"); r.status != 503 || !strings.Contains(r.body, `"client_secret":"refused"`) {
		t.Errorf("/readyz after the refusal: got %d %s, want 503 with \"client_secret\":\"refused\"", r.status, r.body)
	}
	loud := 0
	for line := range strings.Lines(p.settled(t).String()) {
		if strings.Contains(line, `"level":"ERROR"`) {
			loud++
		}
	}
	if loud != 1 {
		t.Errorf("logged %d errors, want 1", loud)
	}
}

// A rollout must stop at a sidecar with a wrong secret, even before the sidecar gets a request.
// When the secret is corrected, the rollout must continue by itself.
func TestTheClientSecretIsTestedAtTheStartAndWhenItChanges(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	secret := file(t, "secret", "wrong-"+appSecret)
	env := without(environ("UPSTREAM_URL="+upstream.URL, "CLIENT_SECRET_FILE="+secret, "UPSTREAM_CHECK_AT_START=true"), "IGPROXY_CLIENT_SECRET")
	p := start(t, env, "serve")
	p.Listening(t)
	reports := func(status int, state string) {
		t.Helper()
		eventually(t, "the secret is "+state, func() bool {
			r := p.page(t, "/readyz")
			if r.status == 200 && state == "refused" {
				t.Errorf("/readyz with a wrong secret: got 200 %s, want 503", r.body)
			}
			return r.status == status && strings.Contains(r.body, `"client_secret":"`+state+`"`)
		})
	}
	reports(503, "refused")
	must(t, os.WriteFile(secret, []byte(appSecret), 0o600))
	reports(200, "accepted")
	if ig.Calls() != 2 {
		t.Errorf("got %d calls to Instagram, want 2, one for each secret", ig.Calls())
	}
}

func TestASidecarWithARefusedSecretStaysReadyIfTheOperatorWantsIt(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "CLIENT_SECRET=wrong-"+appSecret, "UPSTREAM_CHECK_AT_START=true", "ADMIN_READY_WHEN_REFUSED=true")
	eventually(t, "the secret is refused", func() bool {
		r := p.page(t, "/readyz")
		if r.status != 200 {
			t.Errorf("/readyz: got %d %s, want 200", r.status, r.body)
		}
		return strings.Contains(r.body, `"client_secret":"refused"`)
	})
}
