package integration

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// These tests move only the stand-in's clock. Tokens live for less than keep.refresh_before, so
// igproxy refreshes each one as soon as it is used.
const (
	day      = 24 * time.Hour
	keptLife = 57 * day
)

// Settings of keep.check_every, to pass to keeping.
const (
	once  = "KEEP_CHECK_EVERY=24h" // a token is refreshed at most once in a test
	often = "KEEP_CHECK_EVERY=1s"
)

// keeping returns settings with which igproxy keeps tokens alive. every is once or often.
func keeping(every string) []string {
	return []string{"KEEP_ENABLED=true", "KEEP_REFRESH_BEFORE=1392h", "KEEP_MAX_PER_MINUTE=6000", every, "CACHE_NEGATIVE_TTL=0s", "REFRESH_TTL=1s", patientRedis}
}

// renewing is a stand-in with a gate in front of it. Its tokens live for keptLife.
type renewing struct {
	*mock.Instagram
	*gate
}

func newRenewing(t *testing.T, o mock.Options) *renewing {
	t.Helper()
	o.TokenLife = keptLife
	i, s := harness.StandIn(t, o, mock.ServerOptions{})
	return &renewing{i, newGate(t, s.URL)}
}

// keptBy starts n sidecars that keep the tokens of one Instagram app alive, with a stand-in and a
// Redis.
func keptBy(t *testing.T, n int, settings ...string) (*renewing, *redistest.Server, []*process) {
	t.Helper()
	meta, redis := newRenewing(t, mock.Options{Secret: appSecret}), redistest.Start(t)
	return meta, redis, fleet(t, n, slices.Concat(keeping(once), singleRedis(redis), []string{"UPSTREAM_URL=" + meta.url}, settings)...)
}

// newLong exchanges a token through a sidecar and makes the long-lived token two days old, because
// the stand-in refreshes no token that is younger than a day.
func (m *renewing) newLong(t *testing.T, p *process, short string) (long string) {
	t.Helper()
	if long = p.ask(t, short).token(); long == "" {
		t.Fatalf("no token for %s", short)
	}
	m.Age(2 * day)
	return long
}

// oldLong gets a long-lived token directly from the stand-in, so that no sidecar knows its end. It
// makes the token two days old.
func (m *renewing) oldLong(t *testing.T, short string) (long string) {
	t.Helper()
	r, err := fetch(t.Context(), http.DefaultClient, m.url+exchangePath(short)+"&client_secret="+appSecret)
	must(t, err)
	m.Age(2 * day)
	return r.token()
}

// successor uses a token until Meta gets its successor instead, and returns the successor.
func (m *renewing) successor(t *testing.T, p *process, long string) (next string) {
	t.Helper()
	eventually(t, "Meta gets the successor", func() bool {
		p.uses(t, long)
		next = m.lastToken()
		return next != long
	})
	if !slices.Contains(m.Issued(long), next) {
		t.Fatalf("Meta got the token %q, want one of the successors %q", next, m.Issued(long))
	}
	return next
}

// descends reports whether token is a successor of from, a successor of that successor, and so on.
func (m *renewing) descends(token, from string) bool {
	return slices.ContainsFunc(m.Issued(from), func(next string) bool { return next == token || next != from && m.descends(token, next) })
}

// refusesDirectly calls Meta without a sidecar, and reports whether Meta refuses the token with
// code 190.
func (m *renewing) refusesDirectly(t *testing.T, token string) bool {
	t.Helper()
	r, err := fetch(t.Context(), http.DefaultClient, m.url+"/me?fields=id&access_token="+url.QueryEscape(token))
	must(t, err)
	return r.status == 400 && r.graphError(t).Code == 190
}

func mePath(token string) string { return "/me?fields=id&access_token=" + url.QueryEscape(token) }

// refreshPath returns the path and query with which an app refreshes a token of Instagram.
func refreshPath(token string) string {
	return "/refresh_access_token?grant_type=ig_refresh_token&access_token=" + url.QueryEscape(token)
}

// uses makes a call with a token. The call must succeed.
func (p *process) uses(t *testing.T, token string) {
	t.Helper()
	if r := p.fetch(t, mePath(token)); r.status != 200 {
		t.Fatalf("got %d %s, want 200", r.status, r.body)
	}
}

// gate is a reverse proxy in front of the stand-in. It records the queries of calls that are not
// token calls. It can hold refreshes before Meta gets them, or after Meta has answered them.
type gate struct {
	url  string
	held atomic.Int32 // refreshes that wait at the gate

	mu            sync.Mutex // protects the fields below
	calls         []url.Values
	before, after chan struct{} // a held refresh waits until the channel is closed; nil holds nothing
}

func newGate(t *testing.T, target string) *gate {
	t.Helper()
	base, err := url.Parse(target)
	must(t, err)
	g := &gate{}
	forward := &httputil.ReverseProxy{
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(base) },
		ErrorLog:     log.New(io.Discard, "", 0),
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ModifyResponse: func(res *http.Response) error {
			if isRefresh(res.Request) {
				g.wait(res.Request.Context(), func() chan struct{} { return g.after })
			}
			return nil
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isRefresh(r) {
			g.wait(r.Context(), func() chan struct{} { return g.before })
		} else if !strings.Contains(r.URL.Path, "access_token") {
			g.note(r)
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	g.url = s.URL
	return g
}

func isRefresh(r *http.Request) bool { return strings.Contains(r.URL.Path, "refresh_access_token") }

// note records the query of a call. It records a bearer token as the parameter access_token.
func (g *gate) note(r *http.Request) {
	values := r.URL.Query()
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		values.Set("access_token", token)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls = append(g.calls, values)
}

// lastToken returns the token of the last call.
func (g *gate) lastToken() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.calls) == 0 {
		return ""
	}
	return g.calls[len(g.calls)-1].Get("access_token")
}

// take returns the calls since the last take.
func (g *gate) take() []url.Values {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls = nil
	return calls
}

// wait holds a refresh until it may pass. If the client disconnects, wait ends the request.
func (g *gate) wait(ctx context.Context, which func() chan struct{}) {
	g.mu.Lock()
	closed := which()
	g.mu.Unlock()
	if closed == nil {
		return
	}
	g.held.Add(1)
	defer g.held.Add(-1)
	select {
	case <-closed:
	case <-ctx.Done():
		panic(http.ErrAbortHandler)
	}
}

// holdBefore holds refreshes before Meta gets them, until open is called.
func (g *gate) holdBefore(t *testing.T) (open func()) { return g.hold(t, &g.before) }

// holdAfter holds Meta's answers to refreshes until open is called.
func (g *gate) holdAfter(t *testing.T) (open func()) { return g.hold(t, &g.after) }

func (g *gate) hold(t *testing.T, which *chan struct{}) (open func()) {
	c := make(chan struct{})
	g.mu.Lock()
	*which = c
	g.mu.Unlock()
	open = sync.OnceFunc(func() {
		g.mu.Lock()
		*which = nil
		g.mu.Unlock()
		close(c)
	})
	t.Cleanup(open)
	return open
}

// holds waits until one refresh waits at the gate.
func (g *gate) holds(t *testing.T) {
	t.Helper()
	eventually(t, "a refresh waits at the gate", func() bool { return g.held.Load() == 1 })
}
