package proxy

// These tests use a raw connection to read exactly the bytes that net/http sends.

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// wireServer serves a Proxy that calls exchange instead of all steps between decode and answer.
func wireServer(t *testing.T, exchange exchangeFunc) string {
	t.Helper()
	e := testEngine(t)
	e.first = exchange
	p := &Proxy{carried: carried{metrics: NewMetrics(), lines: newRequestLines(0), log: slog.New(slog.DiscardHandler)}}
	p.current.Store(e)
	s := httptest.NewServer(p)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// sent writes a request and returns everything that arrives until the server closes the connection.
// If half is true, sent closes the sending half of the connection after the request.
func sent(t *testing.T, addr, request string, half bool) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // far longer than any response takes
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	if half {
		_ = conn.(*net.TCPConn).CloseWrite()
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		t.Errorf("got %q, then the error %v, want the server to close the connection", got, err)
	}
	return string(got)
}

const wireOK = "/access_token?grant_type=ig_exchange_token&access_token=t"

// In each case, the bytes that net/http would read as the second request may belong to the body or
// the tunnel of the first request. So igproxy closes the connection after the first response.
func TestBytesThatMayBelongToABodyAreNotReadAsARequest(t *testing.T) {
	addr := wireServer(t, func(context.Context, call) (answer, error) { return refusalAnswer(190, 0, "m"), nil })
	const host, second = " HTTP/1.1\r\nHost: localhost\r\n", "GET " + wireOK + " HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for name, request := range map[string]string{
		"another path":     "GET /x" + host + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"foreign host":     "GET " + wireOK + " HTTP/1.1\r\nHost: evil.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second,
		"web page":         "GET " + wireOK + host + "Origin: null\r\nContent-Length: 1\r\n\r\nx" + second,
		"connect":          "CONNECT localhost:80" + host + "\r\n" + second,
		"http/1.0, chunks": "GET " + wireOK + " HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n" + second,
	} {
		got := sent(t, addr, request, true)
		if n := strings.Count(got, "HTTP/1."); n != 1 || !strings.Contains(got, "\r\nConnection: close\r\n") {
			t.Errorf("%s: got %d responses, want 1 with Connection: close; received: %s", name, n, got)
		}
	}
}

// Some clients send an empty or a small body with each GET. igproxy drops the body, and answers the
// next request on the connection.
func TestASmallBodyOfAGETIsDropped(t *testing.T) {
	asked := 0
	addr := wireServer(t, func(ctx context.Context, _ call) (answer, error) {
		asked++
		time.Sleep(10 * time.Millisecond) // the context would end if net/http believed that the client had disconnected
		if ctx.Err() != nil {
			return answer{}, errTimeout()
		}
		return refusalAnswer(190, 0, "m"), nil
	})
	const get, host = "GET " + wireOK, " HTTP/1.1\r\nHost: localhost\r\n"
	const second = get + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	for name, c := range map[string]struct {
		request string
		answers int  // how many exchanges are answered
		kept    bool // whether the connection is kept
	}{
		"empty":             {get + host + "Content-Length: 0\r\n\r\n" + second, 2, true},
		"{}":                {get + host + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}" + second, 2, true},
		"null":              {get + host + "Content-Length: 4\r\n\r\nnull" + second, 2, true},
		"4 KiB":             {get + host + "Content-Length: 4096\r\n\r\n" + strings.Repeat("x", 4096) + second, 2, true},
		"4 KiB and a byte":  {get + host + "Content-Length: 4097\r\n\r\n" + strings.Repeat("x", 4097) + second, 0, false},
		"looks like a call": {get + host + "Content-Length: " + strconv.Itoa(len(second)) + "\r\n\r\n" + second + second, 2, true},
		"longer than said":  {get + host + "Content-Length: 2\r\n\r\n{}{}\r\n\r\n", 1, true},
		"cut short":         {get + host + "Content-Length: 5\r\n\r\n{}", 0, false},
		"no chunk":          {get + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, 1, false},
		"small chunks":      {get + host + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n" + second, 1, false},
		"too many chunks":   {get + host + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 5) + "0\r\n\r\n" + second, 0, false},
		"malformed chunk":   {get + host + "Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n" + second, 0, false},
		"both framings":     {get + host + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + second, 1, false},
		"expects continue":  {get + host + "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}" + second, 0, false},
		"http/1.0":          {get + " HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}" + second, 1, false},
	} {
		asked = 0
		got := sent(t, addr, c.request, name == "cut short") // the end of the stream cuts the body short
		if n := strings.Count(got, `"code":190`); n != c.answers || asked != c.answers {
			t.Errorf("%s: answers: got %d, exchanges: got %d, want %d of each; received: %s", name, n, asked, c.answers, got)
		}
		first, _, _ := strings.Cut(got, "\r\n\r\n")
		if kept := !strings.Contains(first, "\r\nConnection: close"); kept != c.kept {
			t.Errorf("%s: connection kept: got %v, want %v; received: %s", name, kept, c.kept, got)
		}
		if c.answers == 0 && !strings.Contains(got, `"error_subcode":990006`) {
			t.Errorf("%s: got %s, want the subcode 990006", name, got)
		}
	}
}

// igproxy refuses these requests although the announced body never arrives. In the second case, a
// token call by GET, igproxy first waits dropTime for the body.
func TestARefusalArrivesEvenIfTheAnnouncedBodyIsMissing(t *testing.T) {
	app := wireServer(t, nil)
	for _, c := range []struct{ addr, head, status string }{
		{app, "GET /x HTTP/1.1\r\nHost: localhost", "404"},
		{app, "GET " + wireOK + " HTTP/1.1\r\nHost: localhost", "400"},
		{app, "PUT " + wireOK + " HTTP/1.1\r\nHost: localhost", "400"},
		{app, "GET " + wireOK + " HTTP/1.1\r\nHost: evil.example", "421"},
		{app, "POST " + wireOK + " HTTP/1.1\r\nHost: localhost\r\nOrigin: null", "403"},
		{app, "POST http://evil.example/ HTTP/1.1\r\nHost: localhost", "400"},
	} {
		for _, framing := range []string{"Content-Length: 5", "Transfer-Encoding: chunked"} {
			conn, err := net.Dial("tcp", c.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // far longer than any response takes
			_, _ = io.WriteString(conn, c.head+"\r\n"+framing+"\r\n\r\n")
			if line, err := bufio.NewReader(conn).ReadString('\n'); !strings.HasPrefix(line, "HTTP/1.1 "+c.status) {
				t.Errorf("%s, %s: got %q, %v; want %s", c.head, framing, line, err, c.status)
			}
			conn.Close()
		}
	}
}

// Many clients send Connection: close. net/http then closes the connection without reading the rest
// of the body. The kernel resets such a connection, so a client that is still sending would lose
// the response. igproxy prevents that.
func TestARefusalReachesAClientThatSendsConnectionClose(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Bearers = trusting(sha256.Sum256([]byte(ownToken))).digests
	s := httptest.NewServer(newProxy(t, o))
	t.Cleanup(s.Close)
	body := strings.Repeat("x", 3<<20)
	const trusted = "\r\nX-Igproxy-Token: " + ownToken
	for name, c := range map[string]struct{ head, subcode string }{
		"401":                 {"POST /oauth/access_token HTTP/1.1\r\nHost: localhost", "990013"},
		"401, passed-through": {"POST /me/media HTTP/1.1\r\nHost: localhost", "990013"},
		"401, HTTP/1.0":       {"POST /oauth/access_token HTTP/1.0\r\nHost: localhost", "990013"},
		"421":                 {"POST /oauth/access_token HTTP/1.1\r\nHost: evil.example", "990004"},
		"403":                 {"POST /oauth/access_token HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site", "990005"},
		"404":                 {"POST /me/media HTTP/1.1\r\nHost: localhost" + trusted, "990002"},
		"a code exchange":     {"POST /oauth/access_token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json" + trusted, "990015"},
		"a wrong method":      {"PUT /access_token HTTP/1.1\r\nHost: localhost" + trusted, "990001"},
		"a GET with a body":   {"GET " + wireOK + " HTTP/1.1\r\nHost: localhost" + trusted, "990006"},
		"a forward proxy":     {"POST http://graph.instagram.com/me HTTP/1.1\r\nHost: graph.instagram.com" + trusted, "990003"},
		"a malformed query":   {"POST /access_token?x=%zz HTTP/1.1\r\nHost: localhost" + trusted, "990007"},
		"an igproxy webhook":  {"POST /_igproxy/webhook HTTP/1.1\r\nHost: localhost", "990013"},
	} {
		for range 3 {
			got := sent(t, s.Listener.Addr().String(), fmt.Sprintf("%s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", c.head, len(body), body), false)
			if !strings.Contains(got, c.subcode) {
				t.Errorf("%s: got %q, want the subcode %s", name, got, c.subcode)
			}
		}
	}
}

// A client that stops sending in the middle of a body gets the refusal at once. igproxy closes the
// connection when it has waited dropTime for the rest of the body.
func TestARefusalDoesNotWaitForTheRestOfABody(t *testing.T) {
	s := httptest.NewServer(newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil)))
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	start := time.Now()
	_, _ = io.WriteString(conn, "POST /me HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\nContent-Length: 9\r\n\r\nx")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || res.StatusCode != http.StatusMisdirectedRequest || time.Since(start) > dropTime/2 {
		t.Fatalf("got the response %v and the error %v after %s, want 421 within %s", res, err, time.Since(start), dropTime/2)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	if _, err := io.Copy(io.Discard, conn); err != nil || time.Since(start) > 5*dropTime {
		t.Errorf("the connection ended with %v after %s, want no error within %s", err, time.Since(start), 5*dropTime)
	}
}
