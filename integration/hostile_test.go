package integration

// These tests send raw bytes over TCP, as attackers, web pages, broken clients and good clients do.
// Each request gets the answer that the corpus expects (hostile_corpus_test.go describes its
// format), without delay. If a refused request is valid HTTP, the answer is an error in Meta's
// form. There are no extra answers, and Instagram gets only the expected calls. No answer, log line
// or metric repeats what was sent. The server keeps serving.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// heldTimeout is far longer than any answer takes, even on a busy machine, and far shorter than the
// minute that the server waits for the rest of a request. It distinguishes an answer that the
// server holds back from one that is only slow.
const heldTimeout = 15 * time.Second

func TestHostileRequests(t *testing.T) { hostile(t, false, plainTarget) }

// After a hit, the fast lane also reads the next request on the connection.
func TestHostileRequestsAfterAHit(t *testing.T) { hostile(t, true, plainTarget) }

func TestHostileRequestsWithoutTheFastLane(t *testing.T) {
	hostile(t, false, plainTarget, "SERVER_FAST_LANE=false")
}

// hostileTarget is a sidecar that gets the entries of the corpus, and the way to reach it.
type hostileTarget struct {
	*process
	host   func(e hostileEntry) string // the Host for an entry, and the argument of dial and url
	dial   func(host string) (halfCloser, error)
	client *http.Client
	url    func(host string) string
	differ map[string][]string // maps an answer to the entries that get it from this target, but not from plainTarget
}

type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// plainTarget starts a sidecar that gets the entries on its listener for apps.
func plainTarget(t *testing.T, settings ...string) hostileTarget {
	p := serve(t, settings...)
	host := strings.TrimPrefix(p.URL, "http://")
	at, url := func(hostileEntry) string { return host }, func(string) string { return p.URL }
	return hostileTarget{process: p, host: at, client: noKeepAlive, url: url, dial: func(string) (halfCloser, error) {
		c, err := net.Dial("tcp", host)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}}
}

// hostile sends each entry of the corpus on its own connection. If afterHit is true, the connection
// first carries a request that is a hit.
func hostile(t *testing.T, afterHit bool, target func(*testing.T, ...string) hostileTarget, settings ...string) {
	t.Parallel()
	corpus := readHostile(t)
	ig, upstream := harness.StandIn(t, mock.Options{Secret: appSecret, Facebook: mock.App{AppID: pagesID, Secret: pagesSecret}}, mock.ServerOptions{})
	p := target(t, append(settings, "PASSTHROUGH_ENABLED=false", "UPSTREAM_URL="+upstream.URL, "FACEBOOK_URL="+upstream.URL, "FACEBOOK_APP_ID="+pagesID,
		"FACEBOOK_CLIENT_SECRET="+pagesSecret, "FACEBOOK_REDIRECT_URIS="+callback, "REDIRECT_URIS="+callback, "APP_ID="+appID, "SERVER_READ_HEADER_TIMEOUT=60s", "SERVER_READ_TIMEOUT=60s",
		"LOG_LINES=1000000")...)
	var answered atomic.Int64 // how many answers came from igproxy, not from net/http
	var asked atomic.Int64    // how many calls Instagram should get
	request := func(t *testing.T, host, path string) {
		r, err := fetch(t.Context(), p.client, p.url(host)+path)
		if err != nil || r.status != http.StatusOK {
			t.Errorf("an ordinary request: got %d, %v; want 200", r.status, err)
		}
		answered.Add(1)
	}
	first, facebook := p.host(hostileEntry{}), p.host(hostileEntry{name: "oauth/"})
	values := placeholders(first)
	request(t, first, values["ok"])
	request(t, facebook, values["extend"]+"EAA-canary-warm")
	asked.Add(2)

	t.Run("corpus", func(t *testing.T) {
		for _, e := range corpus {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				p.adapt(t, &e)
				host := p.host(e)
				values := placeholders(host)
				hit := ""
				if afterHit {
					hit = values["second"]
				}
				wire, err := expand(e.wire, values)
				if err != nil {
					t.Fatal(err)
				}
				asked.Add(int64(e.asks))
				answered.Add(int64(e.check(t, func() (halfCloser, error) { return p.dial(host) }, hit, wire)))
				request(t, first, placeholders(first)["ok"])
			})
		}
	})

	if got := ig.Calls(); int64(got) != asked.Load() {
		t.Errorf("Instagram was asked %d times, want %d", got, asked.Load())
	}
	if strange := ig.Strange(); len(strange) > 0 {
		t.Errorf("Instagram received requests that igproxy must not send: %v", strange)
	}
	if page := p.page(t, "/metrics").body; strings.Contains(strings.ToLower(page), canary) {
		t.Error("/metrics contains what was sent")
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if n := len(p.Log.Lines("request")); int64(n) != answered.Load() { // the process has ended, so the log is complete
		t.Errorf("igproxy logged %d requests, want %d, one for each of its answers; if there are more, a request was smuggled in", n, answered.Load())
	}
	for line := range strings.Lines(p.Log.String()) {
		low := strings.ToLower(line)
		if strings.Contains(low, canary) || strings.Contains(low, "panic") || strings.Contains(low, `"from":"net/http"`) {
			t.Errorf("the log repeats what was sent, or has a panic or a line of net/http: %.500s", line)
		}
	}
}

// adapt replaces the answers that the entry expects if target.differ has the entry.
func (target hostileTarget) adapt(t *testing.T, e *hostileEntry) {
	for answer, names := range target.differ {
		if slices.Contains(names, e.name) {
			var err error
			if e.answers, err = parseAnswers(answer); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// check sends wire, the bytes of the entry. If hit is not empty, check first sends the request in
// hit. It compares the answers with the expected ones, and returns how many answers came from
// igproxy, not from net/http.
func (e hostileEntry) check(t *testing.T, dial func() (halfCloser, error), hit, wire string) (own int) {
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(heldTimeout))
	r := bufio.NewReader(conn)
	if hit != "" {
		_, _ = io.WriteString(conn, hit)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("the hit before the entry: %v, %v; want 200", res, err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		own++
	}
	written := make(chan struct{})
	go func() { // ends with the connection
		defer close(written)
		e.write(conn, wire)
	}()
	var last *http.Response
	for i, want := range e.answers {
		method := http.MethodGet
		if want.head {
			method = http.MethodHead
		}
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("answer %d: got the error %v, want %+v", i+1, err, want)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil && !(want.plain && errors.Is(err, syscall.ECONNRESET)) {
			t.Fatalf("answer %d: reading the body: %v", i+1, err)
		}
		want.compare(t, res, string(body))
		if res.Header.Get("X-Request-Id") != "" {
			own++
		}
		last = res
	}
	if e.close && (last == nil || !last.Close) {
		t.Error("the last answer has no \"Connection: close\"")
	}
	<-written
	_ = conn.CloseWrite() // now the server answers the remaining requests and closes
	rest, err := io.ReadAll(r)
	if e.goaway {
		if !strings.HasSuffix(string(rest), "use HTTP/1.1 here") {
			t.Errorf("got %q, want a GOAWAY with its reason", rest)
		}
	} else if len(rest) > 0 {
		t.Errorf("got %q after the answers, want nothing", rest)
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection did not end: %v", err)
	}
	return own
}

// write sends the bytes. It ignores errors, because the server may close early.
func (e hostileEntry) write(conn halfCloser, wire string) {
	size := len(wire)
	if e.pieces {
		size = 7
	}
	for len(wire) > 0 {
		n, err := io.WriteString(conn, wire[:min(size, len(wire))])
		if err != nil {
			return
		}
		wire = wire[n:]
	}
	if e.eof {
		_ = conn.CloseWrite()
	}
}

func (want hostileAnswer) compare(t *testing.T, res *http.Response, body string) {
	t.Helper()
	got := response{status: res.StatusCode, header: res.Header, body: body}
	if got.status != want.status {
		t.Errorf("got %d %.300s, want %d", got.status, body, want.status)
		return
	}
	if all := strings.ToLower(fmt.Sprint(res.Header) + body); strings.Contains(all, canary) {
		t.Errorf("the answer repeats what was sent: %v %s", res.Header, body)
	}
	for name := range res.Header {
		if strings.HasPrefix(name, "Access-Control-") || name == "Set-Cookie" || name == "Location" {
			t.Errorf("the answer has the header %s", name)
		}
	}
	if id := res.Header.Get("X-Request-Id"); (id == "") != want.plain {
		t.Errorf("X-Request-Id: got %q, want it empty: %v (only answers from net/http have none)", id, want.plain)
	}
	if want.plain {
		return
	}
	for name, value := range map[string]string{"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff"} {
		if h := res.Header.Get(name); h != value {
			t.Errorf("%s: got %q, want %q", name, h, value)
		}
	}
	n, err := strconv.Atoi(res.Header.Get("Content-Length"))
	switch {
	case err != nil || n == 0 || !want.head && n != len(body):
		t.Errorf("Content-Length: got %q, want %d, the length of the body, or for a HEAD any number above 0", res.Header.Get("Content-Length"), len(body))
	case want.head:
		if body != "" {
			t.Errorf("the answer to a HEAD has a body: %s", body)
		}
	case want.subcode == 0:
		if got.token() == "" {
			t.Errorf("got %s, want a token", body)
		}
	default:
		code := 100
		if want.subcode == 990002 || want.subcode == 990009 { // Instagram's code for an unknown path or no token
			code = 2500
		}
		if strings.HasPrefix(body, `{"error_type":`) { // an error of the code exchange has the status as its code
			code = got.status
		}
		if e := got.graphError(t); e.Subcode != want.subcode || e.Code != code || e.Type == "" || e.Message == "" {
			t.Errorf("got %s, want code %d, subcode %d, a type and a message", body, code, want.subcode)
		}
	}
}
