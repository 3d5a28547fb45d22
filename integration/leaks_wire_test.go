package integration

// When unexpected bytes arrive on a connection, net/http logs them. They could contain tokens, so
// igproxy removes them from the log line.

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// sendsRaw returns a handler that writes text to the connection, without a header of its own, and
// closes the connection.
func sendsRaw(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, text)
	}
}

func TestUnexpectedBytesAreNotLogged(t *testing.T) {
	t.Parallel()
	l := &leaks{t: t, evidence: &evidence{}}
	var sent []string
	secret := func(name string) string { sent = append(sent, l.hide(name)); return sent[len(sent)-1] }
	long, second := secret("a long-lived token"), secret("an unexpected long-lived token")
	answer := func(token string) string {
		body := fmt.Sprintf(`{"access_token":"%s","token_type":"bearer","expires_in":5183944}`, token)
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	chunked := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2\r\n{}\r\n"
	ig := newEdge(t, map[string]http.HandlerFunc{
		"twice":   sendsRaw(answer(long) + answer(second)),
		"trailer": sendsRaw(chunked + "0\r\n" + secret("a trailer") + "\r\n\r\n"),
		"chunk":   sendsRaw(chunked + secret("a chunk's length") + "\r\n"),
		"status":  sendsRaw(secret("a status line") + " \r\n\r\n"),
		"code":    sendsRaw("HTTP/1.1 " + secret("a status") + " OK\r\n\r\n"),
		"header":  sendsRaw("HTTP/1.1 200 OK\r\n" + secret("a header line") + "\r\n\r\n"),
		"length":  sendsRaw("HTTP/1.1 200 OK\r\nContent-Length: " + secret("a length") + "\r\n\r\n"),
		"coding":  sendsRaw("HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret("a coding") + "\r\n\r\n"),
	})
	a := harness.NewAuthority(t)
	certificate, key := a.Sign(t, "igproxy")
	p := serve(t, "UPSTREAM_URL="+ig.URL, "TLS_CERT_FILE="+file(t, "tls.crt", certificate), "TLS_KEY_FILE="+file(t, "tls.key", key),
		"BREAKER_FAILURES=1000", "BREAKER_MIN_REQUESTS=1000")
	secure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer secure.CloseIdleConnections()
	for name := range ig.scripts {
		for _, path := range []string{exchangePath(name + "-1"), "/me?access_token=" + name + "-2"} {
			r, err := fetch(t.Context(), secure, p.URL+path)
			// The app gets 200 if the bytes follow a whole response, or headers that igproxy has
			// already passed through.
			wants := name == "twice" || path[:3] == "/me" && (name == "trailer" || name == "chunk")
			if wants != (r.status == 200) || err != nil && !wants {
				t.Errorf("%s: got %d, %v; want %s", path, r.status, err, map[bool]string{true: "200", false: "an error"}[wants])
			}
		}
	}
	// A client negotiates HTTP/2, but speaks another protocol.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(p.URL, "https://"), &tls.Config{NextProtos: []string{"h2"}, InsecureSkipVerify: true})
	must(t, err)
	_, _ = io.WriteString(conn, "GET /"+secret("a greeting")+"\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn)
	_ = conn.Close()

	for _, sign := range []string{"Unsolicited response", "error reading preface"} { // logged without the bytes
		eventually(t, "the log has "+sign, func() bool { return strings.Contains(p.Log.String(), sign) })
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	s := newSearch(l.hidden)
	for _, found := range s.in(p.Log.String()) {
		t.Errorf("the log: got %s, want no secret", found)
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(sent)))); n != len(l.hidden) || n < 10 {
		t.Errorf("sent %d of %d secrets, want all of them and at least 10", n, len(l.hidden))
	}
}
