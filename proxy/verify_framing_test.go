package proxy

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/signature"
)

// verifyServer serves a Proxy, with read as the server's ReadTimeout, and returns the address.
func verifyServer(t *testing.T, read time.Duration) string {
	t.Helper()
	s := httptest.NewUnstartedServer(newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil)))
	s.Config.ReadTimeout, s.Config.WriteTimeout, s.Config.ErrorLog = read, 20*time.Second, discardLog()
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// After an HTTP/1.1 call, the connection stays open if the whole body has arrived and was not
// chunked, whatever the response is. Otherwise igproxy closes the connection. Bytes after a body
// are read as the next request, not as a part of the body.
func TestAWebhooksConnectionStaysOpenOnlyAfterAWholeUnchunkedBody(t *testing.T) {
	addr := verifyServer(t, 0)
	const host = " HTTP/1.1\r\nHost: localhost\r\n"
	const second = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	post := func(signature, framing, body string) string {
		return "POST /_igproxy/webhook" + host + "X-Hub-Signature-256: " + signature + "\r\n" + framing + "\r\n\r\n" + body
	}
	length := fmt.Sprintf("Content-Length: %d", len(webhookBody))
	good, bad := signatureOf(testSecret, webhookBody), signatureOf("another-secret", webhookBody)
	chunked := fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, webhookBody[:10], len(webhookBody)-10, webhookBody[10:])
	tooLarge := fmt.Sprintf("Content-Length: %d", signature.MaxWebhook+1)
	for name, c := range map[string]struct {
		request, status string
		kept            bool // whether the connection stays open
	}{
		"right":                    {post(good, length, webhookBody), "204", true},
		"wrong":                    {post(bad, length, webhookBody), "403", true},
		"missing":                  {post("", length, webhookBody), "400", true},
		"in chunks":                {post(good, "Transfer-Encoding: chunked", chunked), "204", false},
		"in chunks, wrong":         {post(bad, "Transfer-Encoding: chunked", chunked), "403", false},
		"a malformed chunk":        {post(good, "Transfer-Encoding: chunked", "x\r\n"), "400", false},
		"two framings":             {post(good, length+"\r\nTransfer-Encoding: chunked", chunked), "204", false},
		"too large":                {post(good, tooLarge, ""), "413", false},
		"too large, in chunks":     {post(good, "Transfer-Encoding: chunked", strings.Repeat("100000\r\n"+strings.Repeat("x", 1<<20)+"\r\n", 4)+"0\r\n\r\n"), "413", false},
		"longer than announced":    {post(good, length, webhookBody+second), "204", true},
		"HTTP/1.0":                 {strings.Replace(post(good, length, webhookBody), "1.1", "1.0\r\nConnection: keep-alive", 1), "204", false},
		"HTTP/1.0, in chunks":      {strings.Replace(post(good, "Transfer-Encoding: chunked", chunked), "1.1", "1.0\r\nConnection: keep-alive", 1), "403", false},
		"100-continue, unsigned":   {post("", length+"\r\nExpect: 100-continue", ""), "400", false},
		"100-continue, too large":  {post(good, tooLarge+"\r\nExpect: 100-continue", ""), "413", false},
		"100-continue, signed":     {post(good, length+"\r\nExpect: 100-continue", webhookBody), "100", true},
		"GET with a body":          {strings.Replace(post(good, length, webhookBody), "POST", "GET", 1), "400", true},
		"another path with a body": {strings.Replace(post(good, length, webhookBody), "webhook", "x", 1), "404", true},
	} {
		got := sent(t, addr, c.request+second, true)
		if !strings.HasPrefix(got, "HTTP/1.1 "+c.status) && !strings.HasPrefix(got, "HTTP/1.0 "+c.status) {
			t.Errorf("%s: got %s, want the status %s", name, got, c.status)
		}
		if kept := strings.HasSuffix(got, "\r\n\r\nok\n"); kept != c.kept {
			t.Errorf("%s: connection kept: got %v, want %v; received: %s", name, kept, c.kept, got)
		}
	}
	cut := sent(t, addr, post(good, length, webhookBody[:20]), true)
	if !strings.HasPrefix(cut, "HTTP/1.1 400") || !strings.Contains(cut, "990030") {
		t.Errorf("a body that is cut short: got %s, want 400 with the subcode 990030", cut)
	}
}

// A refusal reaches a client that still sends a large body and wants the connection closed.
// net/http alone would reset the connection, and the client would not get the refusal.
func TestARefusalReachesAClientThatStillSends(t *testing.T) {
	addr := verifyServer(t, 0)
	body := strings.Repeat("x", 3<<20)
	for range 5 {
		for subcode, head := range map[string]string{
			"990029": "POST /_igproxy/webhook",
			"990015": "POST /_igproxy/signed_request",
			"990002": "POST /_igproxy/x",
			"990001": "PUT /_igproxy/webhook",
		} {
			got := sent(t, addr, fmt.Sprintf("%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", head, len(body), body), false)
			if !strings.Contains(got, subcode) {
				t.Errorf("%s: got %q, want the subcode %s", head, got, subcode)
			}
		}
	}
}

func TestASlowBodyGets408AfterTheReadTimeout(t *testing.T) {
	addr := verifyServer(t, 200*time.Millisecond)
	for name, request := range map[string]string{
		"webhook":        "POST /_igproxy/webhook HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature-256: " + signatureOf(testSecret, "x") + "\r\nContent-Length: 100\r\n\r\nx",
		"signed_request": "POST /_igproxy/signed_request HTTP/1.1\r\nHost: localhost\r\nContent-Type: " + urlencoded + "\r\nContent-Length: 100\r\n\r\nsigned",
		"multipart":      "POST /_igproxy/signed_request HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 100\r\n\r\n--b\r\n",
	} {
		start := time.Now()
		got := sent(t, addr, request, false)
		if !strings.HasPrefix(got, "HTTP/1.1 408") || !strings.Contains(got, `"error_subcode":990028`) || !strings.Contains(got, "Connection: close") {
			t.Errorf("%s: got %q after %s, want 408 with the subcode 990028 and Connection: close", name, got, time.Since(start))
		}
	}
}

func TestSpansOfSignatureChecksHaveFixedNames(t *testing.T) {
	p, r := tracedProxy(t)
	const attributes = "http.request.method=POST http.response.status_code=%d%s igproxy.app=%s igproxy.grant=%s igproxy.outcome=%s igproxy.source=none url.scheme=http"
	wantTrace(t, "a webhook", traceOf(t, r, p, webhook("/apps/default/_igproxy/webhook/", webhookBody, signatureOf(testSecret, webhookBody))),
		"POST /_igproxy/webhook "+fmt.Sprintf(attributes, 204, " http.route=/_igproxy/webhook", "default", "webhook", "verified"))
	wantTrace(t, "another path", traceOf(t, r, p, webhook("/_igproxy/canary", webhookBody, "")),
		"POST error.type=request "+fmt.Sprintf(attributes, 404, "", "none", "none", "rejected"))
}

// Over HTTP/2 the ReadTimeout applies to each request. The connection survives a request that
// exceeds this timeout.
func TestSignaturesAreCheckedOverHTTP2(t *testing.T) {
	s := httptest.NewUnstartedServer(newProxy(t, optionsFor(t, "https://127.0.0.1:1", nil)))
	s.Config.ReadTimeout, s.Config.ErrorLog, s.EnableHTTP2 = 300*time.Millisecond, discardLog(), true
	s.StartTLS()
	t.Cleanup(s.Close)
	slow, hold := io.Pipe()
	defer hold.Close()
	for _, c := range []struct {
		secret string
		body   io.Reader
		status int
	}{{testSecret, strings.NewReader(webhookBody), 204}, {"another-secret", strings.NewReader(webhookBody), 403}, {testSecret, slow, 408}, {testSecret, strings.NewReader(webhookBody), 204}} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/_igproxy/webhook", c.body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Hub-Signature-256", signatureOf(c.secret, webhookBody))
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatalf("got %v, want status %d", err, c.status)
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if res.StatusCode != c.status || res.ProtoMajor != 2 {
			t.Errorf("got %d %s over %s, want %d over HTTP/2", res.StatusCode, text, res.Proto, c.status)
		}
	}
}
