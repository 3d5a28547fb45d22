package integration

// Token calls by POST have their parameters in a body, which clients may send slowly or not at all.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// facebookApp returns settings for a sidecar that also has a Facebook app, and that calls the
// stand-in instead of Meta.
func facebookApp(upstream *mock.Server) []string {
	return []string{"UPSTREAM_URL=" + upstream.URL, "FACEBOOK_URL=" + upstream.URL, "FACEBOOK_APP_ID=" + pagesID, "FACEBOOK_CLIENT_SECRET=" + pagesSecret}
}

// startBody sends the start of a POST on a new connection. The parameter size is the
// Content-Length; part is what is sent of the body. The answer can be read from the reader.
func (p *process) startBody(t *testing.T, size int, part string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := p.dialApp(t)
	_ = c.SetWriteDeadline(time.Now().Add(heldTimeout))
	_, _ = io.WriteString(c, fmt.Sprintf("POST /oauth/access_token HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", size, part))
	return c, bufio.NewReader(c)
}

// igproxy holds at most 32 large bodies in memory, and refuses further ones. So clients that send
// large bodies slowly do not use up the memory, and other clients still get their answers.
func TestManyLargeBodiesTakeLittleMemory(t *testing.T) {
	t.Parallel()
	const limit, slow, size = 64 << 20, 600, 60 << 10
	_, upstream := instagram(t, mock.ServerOptions{})
	p := confine(t, container(t, limit), append(facebookApp(upstream), "SERVER_READ_TIMEOUT=1m")...)
	var conns []net.Conn
	var answers []*bufio.Reader
	for range slow {
		c, answer := p.startBody(t, size, `{"a":"`+strings.Repeat("x", size-7))
		conns, answers = append(conns, c), append(answers, answer)
	}
	for i := range 20 {
		r, err := sendRequest(t.Context(), http.MethodPost, p.URL+exchangePath(fmt.Sprintf("IGAA-%d", i)), "")
		if err != nil || r.status != 200 {
			t.Fatalf("another client: status: got %d, want 200; error: got %v, want nil; body %s", r.status, err, r.body)
		}
		r, err = sendRequest(t.Context(), http.MethodPost, p.URL+"/oauth/access_token", fmt.Sprintf(`{"grant_type":"fb_exchange_token","fb_exchange_token":"EAA-%d"}`, i), "Content-Type", "application/json")
		if err != nil || r.status >= 500 {
			t.Fatalf("another client with a body: status: got %d, want below 500; error: got %v, want nil; body %s", r.status, err, r.body)
		}
	}
	refused := 0
	for _, r := range answers[slow/2:] {
		if res, err := http.ReadResponse(r, nil); err == nil && res.StatusCode == 503 && res.Close && res.Header.Get("Retry-After") != "" {
			refused++
		}
	}
	if refused != slow-slow/2 {
		t.Errorf("%d of the last %d large bodies were refused, want all", refused, slow-slow/2)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	wantSmall(t, p, limit)
}

func TestABodyThatDoesNotArriveIsRefusedInTime(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, append(facebookApp(upstream), "SERVER_READ_HEADER_TIMEOUT=1s", "SERVER_READ_TIMEOUT=1s")...)
	for _, part := range []string{"", `{"grant_type":"fb_exchange_token","fb_exchange_token":"EAA-1"}`, `{"a":"` + strings.Repeat("x", 10<<10)} {
		start := time.Now()
		_, answer := p.startBody(t, 20<<10, part)
		res, err := http.ReadResponse(answer, nil)
		if err != nil {
			t.Fatalf("after %d bytes of the body: got the error %v, want a response", len(part), err)
		}
		body, _ := io.ReadAll(res.Body)
		if took := time.Since(start); res.StatusCode != 400 || !res.Close || !strings.Contains(string(body), "990015") || took > heldTimeout {
			t.Errorf("after %d bytes of the body: status: got %d, want 400; connection closed: got %t, want true; body: got %s, want subcode 990015; time: got %s, want at most %s", len(part), res.StatusCode, res.Close, body, took, heldTimeout)
		}
	}
	if ig.Calls() != 0 {
		t.Errorf("Meta was called %d times, want 0", ig.Calls())
	}
}
