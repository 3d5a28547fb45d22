package integration

// An app that has no secret completes a login at one base URL. It exchanges the code from the
// redirect for a short-lived token, exchanges this token for a long-lived one, and refreshes and
// uses the long-lived token. Each call reaches the right host of Meta with the right secret. A code
// is sent once, however many callbacks and sidecars there are.

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

const (
	appID         = "17841400000000002"
	threadsID     = "17841400000000003"
	threadsSecret = "7hreads5ecret0123456789abcdef"
	pagesID       = "17860000000000001"
	pagesSecret   = "f4cebook5ecret0123456789abcdef"
	callback      = "https://app.example/callback"
)

// meta has stand-ins for the two hosts of Instagram and for the host of Threads.
type meta struct{ graph, login, threads *mock.Instagram }

// startMeta starts the stand-ins and returns the settings of a sidecar that uses them.
func startMeta(t *testing.T) (*meta, []string) {
	t.Helper()
	var settings []string
	start := func(key, host string) *mock.Instagram {
		i := mock.New(mock.Options{Host: host, AppID: appID, Secret: appSecret, Threads: mock.App{AppID: threadsID, Secret: threadsSecret}})
		s, err := mock.Start(i, mock.ServerOptions{Addr: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		settings = append(settings, key+"="+s.URL)
		return i
	}
	m := &meta{start("UPSTREAM_URL", "graph.instagram.com"), start("UPSTREAM_LOGIN_URL", "api.instagram.com"), start("THREADS_URL", "graph.threads.net")}
	return m, append(settings, "APP_ID="+appID, "REDIRECT_URIS="+callback,
		"THREADS_APP_ID="+threadsID, "THREADS_CLIENT_SECRET="+threadsSecret, "THREADS_REDIRECT_URIS="+callback)
}

// strange returns the requests that the stand-ins received although igproxy must not send them.
func (m *meta) strange() []string {
	return append(append(append([]string(nil), m.graph.Strange()...), m.login.Strange()...), m.threads.Strange()...)
}

// callBack acts as the callback of an app: it sends the code without a secret.
func callBack(ctx context.Context, p *process, id, code string) (response, error) {
	form := url.Values{"client_id": {id}, "grant_type": {"authorization_code"}, "redirect_uri": {callback}, "code": {code}}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL+"/oauth/access_token", strings.NewReader(form.Encode()))
	if err != nil {
		return response{}, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	start := time.Now()
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return response{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return response{res.StatusCode, res.Header, string(body), time.Since(start)}, err
}

func (p *process) fetch(t *testing.T, path string) response {
	t.Helper()
	r, err := fetch(t.Context(), http.DefaultClient, p.URL+path)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLoginWorksWithoutASecretInTheApp(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	p := serve(t, settings...)
	for _, shape := range []string{"data", "flat"} {
		m.login.SetShape(shape)
		code := m.login.Code(appID, callback)
		r, err := callBack(t.Context(), p, appID, code+"#_")
		if err != nil || r.status != 200 {
			t.Fatalf("%s: the code got %d %s, %v; want 200", shape, r.status, r.body, err)
		}
		var answer struct {
			AccessToken string          `json:"access_token"`
			UserID      json.RawMessage `json:"user_id"`
			Data        []struct {
				AccessToken string          `json:"access_token"`
				UserID      json.RawMessage `json:"user_id"`
			} `json:"data"`
		}
		if err := json.Unmarshal([]byte(r.body), &answer); err != nil || len(answer.Data) != 1 || answer.Data[0].AccessToken != answer.AccessToken ||
			string(answer.Data[0].UserID) != string(answer.UserID) || !strings.Contains(string(answer.UserID), "1784140") {
			t.Fatalf("%s: got %s, want an answer with both forms: flat members, and a list \"data\" with the same values", shape, r.body)
		}
		long := p.ask(t, answer.AccessToken)
		if long.status != 200 || long.token() == "" {
			t.Fatalf("%s: the exchange got %d %s; want 200 with a token", shape, long.status, long.body)
		}
		if young := p.fetch(t, "/refresh_access_token?grant_type=ig_refresh_token&access_token="+long.token()); young.status != 400 {
			t.Errorf("%s: the refresh of a token that is less than a day old got %d, want 400", shape, young.status)
		}
		if me := p.fetch(t, "/v23.0/me?fields=id,username&access_token="+long.token()); me.status != 200 || me.header.Get("Cache-Status") != "" {
			t.Errorf("%s: /me got %d %s with Cache-Status %q, want 200 without Cache-Status", shape, me.status, me.body, me.header.Get("Cache-Status"))
		}
	}
	used := m.login.Code(appID, callback)
	first, _ := callBack(t.Context(), p, appID, used)
	if again, _ := callBack(t.Context(), p, appID, used); again.status != 200 || again.body != first.body || !strings.HasPrefix(again.header.Get("Cache-Status"), "igproxy; hit") {
		t.Errorf("a repeated callback got %d %s with Cache-Status %q, want 200 %s as a hit", again.status, again.body, again.header.Get("Cache-Status"), first.body)
	}
	if spent, _ := callBack(t.Context(), p, appID, "expired-code"); spent.status < 400 || !strings.HasPrefix(spent.body, `{"error_type":"OAuthException","code":4`) {
		t.Errorf("a bad code got %d %s, want a flat error with error_type OAuthException and a code 4xx", spent.status, spent.body)
	}
	if s := m.strange(); len(s) > 0 {
		t.Errorf("Meta received requests that igproxy must not send: %v", s)
	}
	if codes, exchanges, others := m.graph.CallsTo("code"), m.login.CallsTo("exchange"), m.threads.Calls(); codes != 0 || exchanges != 0 || others != 0 {
		t.Errorf("calls to a wrong host: %d with a code, %d exchanges, %d to Threads; want 0 each", codes, exchanges, others)
	}
	if strings.Contains(p.settled(t).String(), used) || strings.Contains(p.Log.String(), first.token()) {
		t.Error("the log contains a code or a token")
	}
}

func TestThreadsLoginUsesItsOwnHost(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	p := serve(t, settings...)
	r, err := callBack(t.Context(), p, threadsID, m.threads.Code(threadsID, callback))
	if err != nil || r.status != 200 {
		t.Fatalf("the code got %d %s, %v; want 200", r.status, r.body, err)
	}
	long := p.fetch(t, "/access_token?grant_type=th_exchange_token&access_token="+url.QueryEscape(r.token()))
	if long.status != 200 {
		t.Fatalf("the exchange got %d %s, want 200", long.status, long.body)
	}
	m.threads.Age(25 * time.Hour)
	refreshed := p.fetch(t, "/refresh_access_token?grant_type=th_refresh_token&access_token="+long.token())
	again := p.fetch(t, "/refresh_access_token?grant_type=th_refresh_token&access_token="+long.token())
	if refreshed.status != 200 || again.token() != refreshed.token() || m.threads.CallsTo("threads_refresh") != 1 {
		t.Errorf("two refreshes: got %d and %d, want 200 with the same token; Meta was called %d times, want once", refreshed.status, again.status, m.threads.CallsTo("threads_refresh"))
	}
	if me := p.fetch(t, "/apps/threads/v1.0/me?fields=id&access_token="+refreshed.token()); me.status != 200 {
		t.Errorf("/me got %d %s, want 200", me.status, me.body)
	}
	if n := m.graph.Calls() + m.login.Calls(); n != 0 || len(m.strange()) > 0 {
		t.Errorf("%d calls went to Instagram, want 0; unexpected requests: %v", n, m.strange())
	}
}

// Browser tabs and a retrying load balancer may send one code many times, to several sidecars. Meta
// gets one call, and every caller gets the answer to this call.
func TestFleetSendsACodeOnce(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	m.login.SetLatency(300 * time.Millisecond)
	all := fleet(t, 4, append(append(settings, singleRedis(redistest.Start(t))...), patientRedis)...)
	code := m.login.Code(appID, callback)
	var right atomic.Int32
	var first atomic.Value
	crowd(40, func(i int) {
		r, err := callBack(t.Context(), all[i%4], appID, code)
		if first.CompareAndSwap(nil, r.body); err == nil && r.status == 200 && r.body == first.Load() {
			right.Add(1)
		}
	})
	if right.Load() != 40 || m.login.CallsTo("code") != 1 {
		t.Errorf("%d of 40 callers got the answer, with %d calls; want all of them, with 1 call", right.Load(), m.login.CallsTo("code"))
	}
}

// A code whose answer was lost is not sent again, because it may have been consumed.
func TestCodeWithALostAnswerIsNotSentAgain(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	p := serve(t, settings...)
	for i, fault := range []string{"reset", "close", "down", "truncated", "html"} {
		before := m.login.CallsTo("code")
		r, err := callBack(t.Context(), p, appID, fmt.Sprintf("%s-code-%d", fault, i))
		if err != nil || r.status < 500 || m.login.CallsTo("code") != before+1 {
			t.Errorf("%s: got %d %s after %d calls, %v; want a 5xx after 1 call", fault, r.status, r.body, m.login.CallsTo("code")-before, err)
		}
	}
}

// Meta gets a passed-through call as the app sent it.
func TestPassedThroughCallsArriveUnchanged(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	p := serve(t, settings...)
	const path = "/v23.0/17841400000000001/media?image_url=https%3A%2F%2Fa.example%2Fx.jpg&caption=a+b%20c&access_token=IGAAlong-lived-token-0123456789"
	r, err := http.NewRequest(http.MethodPost, p.URL+path, strings.NewReader(`{"is_carousel_item":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "an-app/1.0")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	res.Body.Close()
	seen := m.graph.Requests()
	if len(seen) != 1 {
		t.Fatalf("%d requests arrived, want 1", len(seen))
	}
	got := seen[0]
	if got.Method != http.MethodPost || got.URI != path || got.Header.Get("User-Agent") != "an-app/1.0" {
		t.Errorf("the call arrived as %s %s with User-Agent %q, want POST %s with \"an-app/1.0\"", got.Method, got.URI, got.Header.Get("User-Agent"), path)
	}
	for name := range got.Header {
		switch name {
		// Connection applies to one hop only.
		case "Content-Type", "User-Agent", "Content-Length", "Accept-Encoding", "Connection":
		default:
			t.Errorf("igproxy added the header %s, want none", name)
		}
	}
	if stream := p.fetch(t, "/__stream?bytes=3000000"); stream.status != 200 || len(stream.body) != 3_000_000 {
		t.Errorf("a large answer: got %d, %d bytes; want 200 and all 3,000,000", stream.status, len(stream.body))
	}
	closed := serve(t, append(settings, "PASSTHROUGH_ENABLED=false")...)
	if r := closed.fetch(t, path); r.status != 404 || r.graphError(t).Subcode != 990002 {
		t.Errorf("without passthrough: got %d %s, want 404 with subcode 990002", r.status, r.body)
	}
}

// One sidecar serves several apps, each with the app's own secret.
func TestOneSidecarServesEachAppWithItsOwnSecret(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	secret := file(t, "shop", appSecret)
	wrong := file(t, "club", "another-secret-0123456789")
	config := file(t, "igproxy.yaml", fmt.Sprintf("apps:\n  - name: shop\n    app_id: \"1\"\n    client_secret_file: %s\n  - name: club\n    app_id: \"2\"\n    client_secret_file: %s\n", secret, wrong))
	p := start(t, without(environ("UPSTREAM_URL="+upstream.URL), "IGPROXY_CLIENT_SECRET"), "serve", "--config", config)
	p.Listening(t)
	if r := p.fetch(t, "/apps/shop/access_token?grant_type=ig_exchange_token&access_token=IGAA-1"); r.status != 200 {
		t.Errorf("the shop: %d %s, want 200", r.status, r.body)
	}
	if r := p.fetch(t, "/access_token?grant_type=ig_exchange_token&access_token=IGAA-1&client_id=2"); r.status != 400 || r.graphError(t).Code != 100 {
		t.Errorf("the club, whose secret is wrong: %d %s; want 400 with code 100", r.status, r.body)
	}
	if r := p.fetch(t, "/access_token?grant_type=ig_exchange_token&access_token=IGAA-1"); r.status != 400 || r.graphError(t).Subcode != 990016 {
		t.Errorf("a call that names no app: %d %s, want 400 with subcode 990016", r.status, r.body)
	}
	if ig.Calls() != 2 {
		t.Errorf("%d calls, want 2", ig.Calls())
	}
	for _, label := range []string{`app="shop"`, `app="club"`} {
		if p.sum(t, "igproxy_requests_total", label) == 0 {
			t.Errorf("no request is counted with %s, want at least one", label)
		}
	}
}

// While one sidecar exchanges a code, another waits for the answer. If its wait times out, it does
// not send the code, because Meta may have consumed the code. The app retries and gets the answer.
func TestCodeIsNotSentAgainDuringAnotherSidecarsExchange(t *testing.T) {
	t.Parallel()
	m, settings := startMeta(t)
	m.login.SetLatency(2 * time.Second)
	all := fleet(t, 2, append(append(settings, singleRedis(redistest.Start(t))...), patientRedis, "COALESCE_WAIT=300ms")...)
	code := m.login.Code(appID, callback)
	first := make(chan response, 1)
	go func() { r, _ := callBack(t.Context(), all[0], appID, code); first <- r }()
	eventually(t, "the first sidecar sends the code", func() bool { return m.login.CallsTo("code") == 1 })
	second, err := callBack(t.Context(), all[1], appID, code)
	if err != nil || second.status != 503 || second.header.Get("Retry-After") == "" || second.flatError(t).Subcode != 990021 {
		t.Errorf("the second sidecar answered %d %s with Retry-After %q, %v; want 503 with subcode 990021 and a Retry-After", second.status, second.body, second.header.Get("Retry-After"), err)
	}
	got := <-first
	eventually(t, "the second sidecar gets the answer", func() bool {
		again, err := callBack(t.Context(), all[1], appID, code)
		return err == nil && again.status == 200 && again.body == got.body
	})
	if n := m.login.CallsTo("code"); n != 1 {
		t.Errorf("the code was sent %d times, want once", n)
	}
}
