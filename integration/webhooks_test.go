package integration

// An app does not need its secrets to check what Meta signed. The app sends a webhook or a signed
// request to igproxy, which answers whether the signature was made with one of the app's secrets.
// The log, the metrics and the pages do not repeat what was sent.

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	facebookSecret = "fb5ec2e70123456789abcdef01234567"
	anotherSecret  = "a-secret-unknown-to-igproxy"
	// webhookBody is a webhook as Meta sends it: with escaped unicode and slashes.
	webhookBody = `{"object":"instagram","entry":[{"id":"17841400000000001","changes":[{"value":{"text":"canary \u00e4\ud83d\ude00 \u0040 https:\/\/x"}}]}]}`
)

func macOf(hash func() hash.Hash, secret, text string) []byte {
	h := hmac.New(hash, []byte(secret))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// signs returns the value of X-Hub-Signature-256.
func signs(secret, body string) string {
	return "sha256=" + hex.EncodeToString(macOf(sha256.New, secret, body))
}

// signedForm returns a form with a signed request.
func signedForm(secret, payload string) string {
	second := base64.RawURLEncoding.EncodeToString([]byte(payload))
	first := base64.RawURLEncoding.EncodeToString(macOf(sha256.New, secret, second))
	return url.Values{"signed_request": {first + "." + second}}.Encode()
}

// webhook passes a webhook on to igproxy.
func (p *process) webhook(t *testing.T, prefix, body string, fields ...string) response {
	t.Helper()
	r, err := sendRequest(t.Context(), "POST", p.URL+prefix+"/_igproxy/webhook", body, fields...)
	must(t, err)
	return r
}

func TestSignaturesAreCheckedWithTheSecretsOfEachApp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	put := func(name string, lines ...string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		must(t, os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
		must(t, os.Rename(next, filepath.Join(dir, name)))
	}
	put("shop", appSecret)
	put("shop-webhooks", facebookSecret)
	put("club", threadsSecret)
	config := file(t, "igproxy.yaml", fmt.Sprintf("apps:\n  - {name: shop, app_id: \"1\", client_secret_file: %[1]s/shop, webhook_secret_file: %[1]s/shop-webhooks, hosts: [shop.internal]}\n"+
		"  - {name: club, app_id: \"2\", service: threads, client_secret_file: %[1]s/club}\n", dir))
	p := start(t, append(without(environ("UPSTREAM_URL=http://127.0.0.1:1", adminSocket(t), "CONFIG="+config), "IGPROXY_CLIENT_SECRET"), "IGPROXY_LOG_LINES=1000000"), "serve")
	p.Listening(t)
	const header, older = "X-Hub-Signature-256", "X-Hub-Signature"
	sha1Of := func(secret string) string { return "sha1=" + hex.EncodeToString(macOf(sha1.New, secret, webhookBody)) }
	largest := strings.Repeat(webhookBody, 1+(3<<20)/len(webhookBody))[:3<<20]
	for name, c := range map[string]struct {
		prefix, body    string
		fields          []string
		status, subcode int
	}{
		"the shop's secret":              {"/apps/shop", webhookBody, []string{header, signs(appSecret, webhookBody)}, 204, 0},
		"the Facebook app's secret":      {"/apps/shop", webhookBody, []string{header, signs(facebookSecret, webhookBody)}, 204, 0},
		"the club's secret":              {"/apps/club", webhookBody, []string{header, signs(threadsSecret, webhookBody)}, 204, 0},
		"the older header":               {"/apps/shop", webhookBody, []string{older, sha1Of(appSecret)}, 204, 0},
		"both headers":                   {"/apps/shop", webhookBody, []string{older, sha1Of(appSecret), header, signs(appSecret, webhookBody)}, 204, 0},
		"upper case digits":              {"/apps/shop", webhookBody, []string{header, "sha256=" + strings.ToUpper(signs(appSecret, webhookBody)[7:])}, 204, 0},
		"lower case header":              {"/apps/shop", webhookBody, []string{strings.ToLower(header), signs(appSecret, webhookBody)}, 204, 0},
		"the largest body":               {"/apps/shop", largest, []string{header, signs(appSecret, largest)}, 204, 0},
		"Expect: 100-continue":           {"/apps/shop", webhookBody, []string{header, signs(appSecret, webhookBody), "Expect", "100-continue"}, 204, 0},
		"the largest body, changed":      {"/apps/shop", largest[1:] + "x", []string{header, signs(appSecret, largest)}, 403, 990031},
		"another app's secret":           {"/apps/club", webhookBody, []string{header, signs(appSecret, webhookBody)}, 403, 990031},
		"an unknown secret":              {"/apps/shop", webhookBody, []string{header, signs(anotherSecret, webhookBody)}, 403, 990031},
		"the unicode is not escaped":     {"/apps/shop", strings.Replace(webhookBody, `\u00e4`, "ä", 1), []string{header, signs(appSecret, webhookBody)}, 403, 990031},
		"only the older header is right": {"/apps/shop", webhookBody, []string{older, sha1Of(appSecret), header, signs(anotherSecret, webhookBody)}, 403, 990031},
		"no signature":                   {"/apps/shop", webhookBody, nil, 400, 990029},
		"no algorithm":                   {"/apps/shop", webhookBody, []string{header, signs(appSecret, webhookBody)[7:]}, 400, 990029},
		"the signature twice":            {"/apps/shop", webhookBody, []string{header, signs(appSecret, webhookBody), header, signs(appSecret, webhookBody)}, 400, 990029},
		"no app":                         {"", webhookBody, []string{header, signs(appSecret, webhookBody)}, 400, 990016},
		"an unknown app":                 {"/apps/canary", webhookBody, []string{header, signs(appSecret, webhookBody)}, 404, 990002},
		"a web page":                     {"/apps/shop", webhookBody, []string{header, signs(appSecret, webhookBody), "Sec-Fetch-Site", "cross-site"}, 403, 990005},
	} {
		r := p.webhook(t, c.prefix, c.body, c.fields...)
		if r.status != c.status || c.status == 204 && r.body != "" {
			t.Errorf("%s: got %d %s, want %d", name, r.status, r.body, c.status)
		} else if c.status != 204 && r.graphError(t).Subcode != c.subcode {
			t.Errorf("%s: got %s, want subcode %d", name, r.body, c.subcode)
		}
	}
	// This client keeps its connections open. If a client asks to close the connection, net/http
	// can reset the connection before the client has read the answer.
	if r := postBy(t, http.DefaultClient, p.URL+"/apps/shop/_igproxy/webhook", largest+"x", header, signs(appSecret, largest+"x")); r.status != 413 || r.graphError(t).Subcode != 990018 {
		t.Errorf("one byte larger than the largest body: got %d %s, want 413 with subcode 990018", r.status, r.body)
	}

	const payload = `{"algorithm":"HMAC-SHA256","issued_at":1764280000,"user_id":"canary \u00e4"}`
	for secret, want := range map[string]int{appSecret: 200, facebookSecret: 200, threadsSecret: 403} {
		if r := post(t, p.URL+"/apps/shop/_igproxy/signed_request", signedForm(secret, payload)); r.status != want || want == 200 && r.body != payload || want == 403 && r.graphError(t).Subcode != 990032 {
			t.Errorf("a signed request with the secret %s: got %d %s, want %d", secret, r.status, r.body, want)
		}
	}
	if r := post(t, p.URL+"/apps/shop/_igproxy/signed_request", "canary=1"); r.status != 400 || r.graphError(t).Subcode != 990015 {
		t.Errorf("a form without a signed request: got %d %s, want 400 with subcode 990015", r.status, r.body)
	}

	// During a rotation, new secrets are added before the old ones are removed, so that no webhook
	// is refused.
	accepted := func(want ...string) {
		t.Helper()
		if code, _, errs := p.operate(t, "reload"); code != 0 {
			t.Fatal(errs)
		}
		got := ""
		for _, secret := range []string{appSecret, nextSecret, facebookSecret, anotherSecret} {
			if p.webhook(t, "/apps/shop", webhookBody, header, signs(secret, webhookBody)).status == 204 {
				got += secret + " "
			}
		}
		if got != strings.Join(want, " ")+" " {
			t.Errorf("got the accepted secrets %s, want %s", got, want)
		}
	}
	put("shop", nextSecret, appSecret)
	accepted(appSecret, nextSecret, facebookSecret)
	put("shop", nextSecret)
	put("shop-webhooks", anotherSecret, facebookSecret)
	accepted(nextSecret, facebookSecret, anotherSecret)
	put("shop-webhooks", anotherSecret)
	accepted(nextSecret, anotherSecret)
	put("shop-webhooks", "short")
	if code, out, errs := p.operate(t, "reload"); code == 0 || !strings.Contains(out+errs, "apps.0.webhook_secret_file") {
		t.Errorf("reload with an invalid secret: exit code %d, want not 0, and apps.0.webhook_secret_file in the output:\n%s%s", code, out, errs)
	}

	log := p.settled(t).String() + p.page(t, "/metrics").body + p.page(t, "/").body + p.page(t, "/status").body
	for _, never := range []string{"canary", "17841400000000001", "sha256=", "sha1=", appSecret, nextSecret, facebookSecret, anotherSecret, threadsSecret} {
		if strings.Contains(log, never) {
			t.Errorf("the log or a page has %q", never)
		}
	}
	for _, sample := range []string{`{app="shop",grant="webhook",outcome="verified",source="none"}`, `{app="shop",grant="webhook",outcome="unverified",source="none"}`,
		`{app="shop",grant="signed_request",outcome="verified",source="none"}`, `{app="shop",grant="signed_request",outcome="unverified",source="none"}`} {
		if got := p.metric(t, "igproxy_requests_total"+sample); got < 1 {
			t.Errorf("%s: got %v requests, want at least 1", sample, got)
		}
	}
}

// The connection stays open after a right or a wrong signature, even if the webhook has the largest
// size that igproxy accepts.
func TestWebhooksShareAConnection(t *testing.T) {
	t.Parallel()
	p := serve(t, "UPSTREAM_URL=http://127.0.0.1:1")
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	opened := 0
	trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) {
		if !c.Reused {
			opened++
		}
	}}
	for i, body := range []string{webhookBody, webhookBody, strings.Repeat("x", 3<<20), strings.Repeat("x", 1<<20), webhookBody} {
		secret, want := appSecret, 204
		if i%2 == 1 {
			secret, want = anotherSecret, 403
		}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodPost, p.URL+"/_igproxy/webhook", strings.NewReader(body))
		must(t, err)
		r.Header.Set("X-Hub-Signature-256", signs(secret, body))
		res, err := client.Do(r)
		must(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		must(t, err)
		if res.Body.Close(); res.StatusCode != want {
			t.Errorf("webhook %d: got %d, want %d", i+1, res.StatusCode, want)
		}
	}
	if opened != 1 {
		t.Errorf("%d connections were opened, want 1", opened)
	}
}

func TestSignatureChecksNeedIgproxysOwnToken(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef-sidecar"
	p := serve(t, "UPSTREAM_URL=http://127.0.0.1:1", "AUTH_BEARER_FILE="+file(t, "bearer", token))
	signature := signs(appSecret, webhookBody)
	if r := p.webhook(t, "", webhookBody, "X-Hub-Signature-256", signature); r.status != 401 || r.graphError(t).Subcode != 990013 {
		t.Errorf("without the token: got %d %s, want 401 with subcode 990013", r.status, r.body)
	}
	if r := p.webhook(t, "", webhookBody, "X-Hub-Signature-256", signature, "X-Igproxy-Token", token); r.status != 204 {
		t.Errorf("with the token: got %d %s, want 204", r.status, r.body)
	}
}

// A body that does not arrive within server.read_timeout gets 408. Meanwhile, other webhooks are
// answered.
func TestASlowWebhookEnds(t *testing.T) {
	t.Parallel()
	p := serve(t, "UPSTREAM_URL=http://127.0.0.1:1", "SERVER_READ_TIMEOUT=500ms", "SERVER_READ_HEADER_TIMEOUT=500ms")
	c := p.dialApp(t)
	_, err := fmt.Fprintf(c, "POST /_igproxy/webhook HTTP/1.1\r\nHost: localhost\r\nX-Hub-Signature-256: %s\r\nContent-Length: 1000\r\n\r\nx", signs(appSecret, "x"))
	must(t, err)
	if r := p.webhook(t, "", webhookBody, "X-Hub-Signature-256", signs(appSecret, webhookBody)); r.status != 204 {
		t.Errorf("another webhook: got %d %s, want 204", r.status, r.body)
	}
	answer, err := io.ReadAll(c)
	if text := string(answer); err != nil || !strings.HasPrefix(text, "HTTP/1.1 408 ") || !strings.Contains(text, `"error_subcode":990028`) {
		t.Errorf("got %q, %v; want 408 with subcode 990028", text, err)
	}
}

// A flood of wrong signatures writes few lines, and other requests are still logged.
func TestWrongSignaturesCannotFillTheLog(t *testing.T) {
	t.Parallel()
	p := serve(t, "UPSTREAM_URL=http://127.0.0.1:1", "LOG_LINES=5")
	crowd(8, func(int) {
		for range 250 {
			r, err := sendRequest(t.Context(), "POST", p.URL+"/_igproxy/webhook", "x", "X-Hub-Signature-256", signs(anotherSecret, "x"))
			if err != nil || r.status != 403 {
				t.Errorf("got %d, %v; want 403", r.status, err)
				return
			}
		}
	})
	lines := p.settled(t).Lines("request")
	seconds := map[string]int{}
	for _, line := range lines {
		if line["outcome"] == "unverified" {
			seconds[line["time"].(string)[:len("2006-01-02T15:04:05")]]++
		}
	}
	for second, n := range seconds {
		if n > 2*5 { // one second of the clock can overlap two seconds of the limit
			t.Errorf("%d lines in the second %s, want at most 10", n, second)
		}
	}
	if got := p.metric(t, `igproxy_requests_total{app="default",grant="webhook",outcome="unverified",source="none"}`); len(seconds) == 0 || got != 2000 {
		t.Errorf("got lines about wrong signatures in %d seconds, want at least 1; counted %v requests, want 2000", len(seconds), got)
	}
}
