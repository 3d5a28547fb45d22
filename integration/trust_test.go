package integration

// By default, igproxy answers all clients on this machine. If other machines can reach the
// listener, the configuration must require a token or a client certificate, or must allow everyone
// with auth.none. If the configuration does neither, igproxy does not start.

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestListenerBeyondLoopbackNeedsAuthentication(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"serve"}, {"check"}} {
		code, stdout, stderr := command(t, environ("LISTEN=0.0.0.0:0"), args...)
		said := strings.ReplaceAll(stdout+stderr, "\n         ", "; ")
		if code != 2 || !strings.Contains(said, "IGPROXY_LISTEN: reachable by other machines without authentication; set auth.bearer_file, or auth.client_ca ") {
			t.Errorf("%v: exit code %d, want 2 with the settings that are missing\n%s", args, code, said)
		}
		if args[0] == "serve" && strings.Count(said, "\n") != 1 {
			t.Errorf("serve: want one line of output, got:\n%s", said)
		}
	}
	code, stdout, _ := command(t, environ("LISTEN=0.0.0.0:0", "AUTH_NONE=true"), "check")
	if code != 0 || !strings.Contains(stdout, "warning") || !strings.Contains(stdout, "open to everything that reaches it\n") {
		t.Errorf("auth.none: exit code %d, want 0 with \"warning\" and \"open to everything that reaches it\"\n%s", code, stdout)
	}
	code, _, stderr := command(t, environ("LISTEN=0.0.0.0:0", "AUTH_NONE=true", "AUTH_BEARER_FILE="+file(t, "token", ownToken)), "serve")
	if code != 2 || !strings.Contains(stderr, "IGPROXY_AUTH_BEARER_FILE: set although auth.none is true") {
		t.Errorf("auth.none and a token: exit code %d, want 2 with \"IGPROXY_AUTH_BEARER_FILE: set although auth.none is true\"\n%s", code, stderr)
	}
}

const (
	ownToken  = "canary-of-the-sidecar-0123456789"
	nextToken = "canary-of-the-next-one-987654321"
)

// getWith sends a request with header fields (name, value, ...).
func getWith(t *testing.T, target string, fields ...string) response {
	t.Helper()
	r, err := fetchWith(t.Context(), http.DefaultClient, target, fields...)
	if err != nil {
		t.Fatalf("asking igproxy: %v", err)
	}
	return r
}

func fetchWith(ctx context.Context, client *http.Client, target string, fields ...string) (response, error) {
	withFields := *client
	if withFields.Transport == nil {
		withFields.Transport = http.DefaultTransport
	}
	withFields.Transport = headerAdder{withFields.Transport, fields}
	return fetch(ctx, &withFields, target)
}

// headerAdder adds header fields to each request.
type headerAdder struct {
	next   http.RoundTripper
	fields []string
}

func (d headerAdder) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for i := 0; i < len(d.fields); i += 2 {
		r.Header.Add(d.fields[i], d.fields[i+1])
	}
	return d.next.RoundTrip(r)
}

func TestBearerTokenIsRequired(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	path := file(t, "token", ownToken+"\n")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "AUTH_BEARER_FILE="+path)
	target, bare := p.URL+exchangePath("IGAA-own"), p.URL+"/access_token?grant_type=ig_exchange_token"
	by := func(token string) string {
		return strings.Replace(target, "://", "://igproxy:"+token+"@", 1)
	}
	for name, r := range map[string]response{
		"missing":                      getWith(t, target),
		"wrong":                        getWith(t, target, "X-Igproxy-Token", nextToken),
		"wrong in the base URL":        getWith(t, by(nextToken)),
		"another bearer":               getWith(t, target, "Authorization", "Bearer "+nextToken),
		"instead of Instagram's token": getWith(t, bare, "Authorization", "Bearer "+ownToken),
		"on an unknown path":           getWith(t, p.URL+"/me", "X-Igproxy-Token", nextToken),
	} {
		if e := r.graphError(t); r.status != 401 || e.Code != 100 || e.Subcode != 990013 || !strings.HasPrefix(r.header.Get("WWW-Authenticate"), "Basic ") {
			t.Errorf("%s: got %d %s, want 401 with code 100 and subcode 990013", name, r.status, r.body)
		}
	}
	if ig.Calls() != 0 {
		t.Fatalf("unauthenticated requests caused %d calls to Instagram, want 0", ig.Calls())
	}
	for name, r := range map[string]response{
		"in its header":             getWith(t, target, "X-Igproxy-Token", ownToken),
		"in the base URL":           getWith(t, by(ownToken)),
		"as the bearer":             getWith(t, target, "Authorization", "Bearer "+ownToken),
		"beside Instagram's bearer": getWith(t, bare, "X-Igproxy-Token", ownToken, "Authorization", "Bearer IGAA-own"),
	} {
		if r.status != 200 {
			t.Errorf("%s: got %d %s, want 200", name, r.status, r.body)
		}
	}
	if ig.Calls() != 1 || ig.CallsFor("IGAA-own") != 1 || len(ig.Strange()) > 0 {
		t.Errorf("Instagram was asked %d times, want 1; got the unexpected requests %v, want none", ig.Calls(), ig.Strange())
	}
	if err := os.WriteFile(path, []byte(nextToken), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next token is accepted", func() bool { return getWith(t, by(nextToken)).status == 200 })
	if r := getWith(t, by(ownToken)); r.status != 401 {
		t.Errorf("the previous token: got %d, want 401", r.status)
	}
	env := without(environ("ADMIN_LISTEN="+strings.TrimPrefix(p.Admin, "http://")), "IGPROXY_CLIENT_SECRET")
	if code, _, stderr := command(t, env, "healthcheck"); code != 0 {
		t.Errorf("healthcheck: exit code %d, want 0\n%s", code, stderr)
	}
	metrics := p.page(t, "/metrics").body
	if !strings.Contains(metrics, `outcome="rejected"`) {
		t.Error("the refused requests are not counted as rejected")
	}
	p.Stop(t)
	for _, canary := range []string{ownToken, nextToken} {
		for form, needle := range forms(canary) {
			if strings.Contains(p.Log.String()+metrics, needle) {
				t.Errorf("the log or the metrics contain a token as %s", form)
			}
		}
	}
}

// The token file may have the previous token on a second line. A metric shows when no app sends the
// previous token any more, and how many requests have a wrong token or no token.
func TestBothBearerTokensWorkDuringARotation(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	path := file(t, "token", ownToken+"\n")
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "AUTH_BEARER_FILE="+path)
	ask := func(token string) int {
		return getWith(t, p.URL+exchangePath("IGAA-rotated"), "X-Igproxy-Token", token).status
	}
	if before, next := ask(ownToken), ask(nextToken); before != 200 || next != 401 {
		t.Errorf("before the rotation: the current token got %d (want 200), the next token %d (want 401)", before, next)
	}
	must(t, os.WriteFile(path, []byte(nextToken+"\n"+ownToken+"\n"), 0o600))
	eventually(t, "the next token is accepted", func() bool { return ask(nextToken) == 200 })
	if previous := ask(ownToken); previous != 200 {
		t.Errorf("during the rotation the previous token gets %d, want 200", previous)
	}
	if missing := getWith(t, p.URL+exchangePath("IGAA-rotated")).status; missing != 401 {
		t.Errorf("without a token: got %d, want 401", missing)
	}
	for _, result := range []string{"current", "previous", "wrong", "missing"} {
		if n := p.metric(t, `igproxy_bearer_checks_total{result="`+result+`"}`); n < 1 {
			t.Errorf("%v requests are counted as %s, want at least 1", n, result)
		}
	}
	must(t, os.WriteFile(path, []byte(nextToken+"\n"), 0o600))
	eventually(t, "the previous token is refused", func() bool { return ask(ownToken) == 401 })
	if next := ask(nextToken); next != 200 {
		t.Errorf("after the rotation: the new token got %d, want 200", next)
	}
}

// Without TLS, a Redis password can be read on the network.
func TestCheckWarnsAboutARedisPasswordWithoutTLS(t *testing.T) {
	t.Parallel()
	const password = "canary-of-redis-0123456789"
	for address, warned := range map[string]bool{"redis://:" + password + "@redis.internal": true, "redis://:" + password + "@127.0.0.1": false,
		"rediss://:" + password + "@redis.internal": false} {
		code, stdout, stderr := command(t, environ("REDIS_MODE=single", "REDIS_URL="+address), "check")
		if got := strings.Contains(stdout, "IGPROXY_REDIS_URL: on another machine, with a password and without TLS"); code != 0 || got != warned {
			t.Errorf("%s: exit code %d, want 0; warned: %v, want %v\n%s", address, code, got, warned, stdout)
		}
		if strings.Contains(stdout+stderr, password) {
			t.Errorf("%s: the password is printed", address)
		}
	}
}
