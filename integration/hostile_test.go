package integration

// These tests send raw bytes over TCP, as attackers, web pages, broken clients and good clients do.
// Each request gets the answer that the corpus expects (hostile_corpus_test.go describes its
// format), without delay. If a refused request is valid HTTP, the answer has the Graph envelope.
// There are no surplus answers, Instagram gets only the expected calls, no answer, log line or
// metric repeats what was sent, and the server keeps serving.

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// heldTimeout is well above the time of any answer on a busy machine, and well below the minute
// that the server waits for the rest of a request. So the test can tell an answer that the server
// holds back from one that is only slow.
const heldTimeout = 15 * time.Second

func TestHostileRequests(t *testing.T) { hostile(t, false) }

// After a hit, the fast lane also reads the next request on the connection.
func TestHostileRequestsAfterAHit(t *testing.T) { hostile(t, true) }

func TestHostileRequestsWithoutTheFastLane(t *testing.T) { hostile(t, false, "SERVER_FAST_LANE=false") }

// hostile sends each entry of the corpus on its own connection. If afterHit is true, the connection
// first carries a request that is a hit.
func hostile(t *testing.T, afterHit bool, settings ...string) {
	t.Parallel()
	corpus := readHostile(t)
	ig, upstream := harness.StandIn(t, mock.Options{Secret: appSecret, Facebook: mock.App{AppID: pagesID, Secret: pagesSecret}}, mock.ServerOptions{})
	p := serve(t, append(settings, "PASSTHROUGH_ENABLED=false", "UPSTREAM_URL="+upstream.URL, "FACEBOOK_URL="+upstream.URL, "FACEBOOK_APP_ID="+pagesID,
		"FACEBOOK_CLIENT_SECRET="+pagesSecret, "FACEBOOK_REDIRECT_URIS="+callback, "REDIRECT_URIS="+callback, "APP_ID="+appID, "SERVER_READ_HEADER_TIMEOUT=60s", "SERVER_READ_TIMEOUT=60s",
		"LOG_LINES=1000000")...)
	host := strings.TrimPrefix(p.URL, "http://")
	values := placeholders(host)
	var answered, asked atomic.Int64 // answers of igproxy itself, and calls to Instagram
	request := func(t *testing.T, target string) {
		r, err := fetch(t.Context(), noKeepAlive, p.URL+target)
		if err != nil || r.status != http.StatusOK {
			t.Errorf("an ordinary request afterwards got %d, %v", r.status, err)
		}
		answered.Add(1)
	}
	for _, warm := range []string{values["ok"], values["extend"] + "EAA-canary-warm"} {
		request(t, warm)
		asked.Add(1)
	}
	hit := ""
	if afterHit {
		hit = "GET " + values["ok"] + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n"
	}

	t.Run("corpus", func(t *testing.T) {
		for _, e := range corpus {
			t.Run(e.name, func(t *testing.T) {
				t.Parallel()
				wire, err := expand(e.wire, values)
				if err != nil {
					t.Fatal(err)
				}
				asked.Add(int64(e.asks))
				answered.Add(int64(e.check(t, host, hit, wire)))
				request(t, values["ok"])
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
		t.Errorf("igproxy ended with %d", code)
	}
	if n := len(p.Log.Lines("request")); int64(n) != answered.Load() { // the process has ended, so the log is complete
		t.Errorf("igproxy served %d requests, and %d were answered: the other requests were smuggled in", n, answered.Load())
	}
	for line := range strings.Lines(p.Log.String()) {
		low := strings.ToLower(line)
		if strings.Contains(low, canary) || strings.Contains(low, "panic") || strings.Contains(low, `"from":"net/http"`) {
			t.Errorf("the log repeats what was sent, or has a panic or a line of net/http: %.500s", line)
		}
	}
}

// check sends an entry, after the request in hit unless hit is empty. It compares the answers, and
// returns how many were igproxy's own.
func (e hostileEntry) check(t *testing.T, host, hit, wire string) (own int) {
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	conn := c.(*net.TCPConn)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(heldTimeout))
	r := bufio.NewReader(conn)
	if hit != "" {
		_, _ = io.WriteString(conn, hit)
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != http.StatusOK {
			t.Fatalf("the hit before the entry: %v, %v", res, err)
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
			t.Fatalf("answer %d: %v, want %+v", i+1, err, want)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil && !(want.plain && errors.Is(err, syscall.ECONNRESET)) {
			t.Fatalf("answer %d: its body: %v", i+1, err)
		}
		want.compare(t, res, string(body))
		if res.Header.Get("X-Request-Id") != "" {
			own++
		}
		last = res
	}
	if e.close && (last == nil || !last.Close) {
		t.Error("the last answer does not end the connection")
	}
	<-written
	_ = conn.CloseWrite() // now the server answers the remaining requests and closes
	rest, err := io.ReadAll(r)
	if e.goaway {
		if !strings.HasSuffix(string(rest), "use HTTP/1.1 here") {
			t.Errorf("got %q, want a GOAWAY with its reason", rest)
		}
	} else if len(rest) > 0 {
		t.Errorf("unexpected bytes after the answers: %q", rest)
	}
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the connection did not end: %v", err)
	}
	return own
}

// write sends the bytes. It ignores errors, because the server may close early.
func (e hostileEntry) write(conn *net.TCPConn, wire string) {
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
	got := reply{status: res.StatusCode, header: res.Header, body: body}
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
		t.Errorf("X-Request-Id is %q; want one unless the answer is from net/http (%v)", id, want.plain)
	}
	if want.plain {
		return
	}
	for name, value := range map[string]string{"Content-Type": "application/json; charset=UTF-8", "Cache-Control": "no-store",
		"X-Content-Type-Options": "nosniff"} {
		if h := res.Header.Get(name); h != value {
			t.Errorf("%s: %q, want %q", name, h, value)
		}
	}
	n, err := strconv.Atoi(res.Header.Get("Content-Length"))
	switch {
	case err != nil || n == 0 || !want.head && n != len(body):
		t.Errorf("Content-Length %q of %d bytes", res.Header.Get("Content-Length"), len(body))
	case want.head:
		if body != "" {
			t.Errorf("the answer to a HEAD has a body: %s", body)
		}
	case want.subcode == 0:
		if got.token() == "" {
			t.Errorf("no token in %s", body)
		}
	default:
		code := 100
		if want.subcode == 990002 || want.subcode == 990009 { // Instagram has an error for these, with this code
			code = 2500
		}
		if strings.HasPrefix(body, `{"error_type":`) { // an error of the code exchange has the status as its code
			code = got.status
		}
		if e := got.graphError(t); e.Subcode != want.subcode || e.Code != code || e.Type == "" || e.Message == "" {
			t.Errorf("got %s, want %d/%d", body, code, want.subcode)
		}
	}
}
