package proxy

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
)

const (
	webhookBody   = `{"object":"instagram","entry":[{"id":"17841400000000001","text":"canary \u00e4\/"}]}`
	signedPayload = `{"user_id":"canary-user","algorithm":"HMAC-SHA256","issued_at":1764280000}`
	fbSecret      = "the-facebook-apps-secret"
)

func macOf(hash func() hash.Hash, secret, text string) []byte {
	h := hmac.New(hash, []byte(secret))
	h.Write([]byte(text))
	return h.Sum(nil)
}

// signatureOf returns the value of X-Hub-Signature-256.
func signatureOf(secret, body string) string {
	return "sha256=" + hex.EncodeToString(macOf(sha256.New, secret, body))
}

// webhook returns the request of a webhook. If signature is empty, the request is not signed.
func webhook(path, body, signature string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	if signature != "" {
		r.Header.Set("X-Hub-Signature-256", signature)
	}
	return r
}

func signedRequest(secret, payload string) string {
	second := base64.RawURLEncoding.EncodeToString([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(macOf(sha256.New, secret, second)) + "." + second
}

func postForm(path, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	return r
}

const urlencoded = "application/x-www-form-urlencoded"

// wantRefusal checks the status and the subcode of an error. It also checks that the response does
// not contain the word canary, which many requests in these tests contain.
func wantRefusal(t *testing.T, name string, w *httptest.ResponseRecorder, status, subcode int) {
	t.Helper()
	if e := errorIn(t, w.Body.Bytes()); w.Code != status || e.Subcode != subcode {
		t.Errorf("%s: got %d %s, want %d with the subcode %d", name, w.Code, w.Body, status, subcode)
	}
	if strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), "canary") {
		t.Errorf("%s: got a response with the word canary, which was sent: %v %s", name, w.Header(), w.Body)
	}
}

func TestAWebhookIsVerifiedWithEachSecretOfItsApp(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Apps[0].Previous = NewSecret("the-previous-secret")
	o.Apps[0].WebhookSecrets = []Secret{NewSecret(fbSecret), NewSecret("its-previous-secret")}
	p := newProxy(t, o)
	old := func(secret string) *http.Request {
		return with(webhook("/_igproxy/webhook", webhookBody, ""), "X-Hub-Signature", "sha1="+hex.EncodeToString(macOf(sha1.New, secret, webhookBody)))
	}
	for name, r := range map[string]*http.Request{
		"current":             webhook("/_igproxy/webhook", webhookBody, signatureOf(testSecret, webhookBody)),
		"previous":            webhook("/_igproxy/webhook", webhookBody, signatureOf("the-previous-secret", webhookBody)),
		"Facebook's":          webhook("/_igproxy/webhook", webhookBody, signatureOf(fbSecret, webhookBody)),
		"Facebook's previous": webhook("/_igproxy/webhook", webhookBody, signatureOf("its-previous-secret", webhookBody)),
		"the older header":    old(testSecret),
		"both headers":        with(old("wrong"), "X-Hub-Signature-256", signatureOf(testSecret, webhookBody)),
		"by path":             webhook("/apps/default/_igproxy/webhook", webhookBody, signatureOf(testSecret, webhookBody)),
		"a slash at the end":  webhook("/_igproxy/webhook/", webhookBody, signatureOf(testSecret, webhookBody)),
		"a query":             webhook("/_igproxy/webhook?x=%zz", webhookBody, signatureOf(testSecret, webhookBody)),
		"empty":               webhook("/_igproxy/webhook", "", signatureOf(testSecret, "")),
		"3 MiB":               webhook("/_igproxy/webhook", strings.Repeat("x", 3<<20), signatureOf(testSecret, strings.Repeat("x", 3<<20))),
	} {
		w := ask(p, r)
		h := w.Header()
		if w.Code != 204 || w.Body.Len() > 0 || h.Get("X-Request-Id") == "" || h.Get("Cache-Control") != "no-store" || h["Content-Length"] != nil || h["Content-Type"] != nil || h["Cache-Status"] != nil {
			t.Errorf("%s: status: got %d, want 204; body: got %q, want \"\"; header: got %v, want X-Request-Id and Cache-Control: no-store, but no Content-Length, Content-Type or Cache-Status", name, w.Code, w.Body, h)
		}
	}
	right := signatureOf(testSecret, webhookBody)
	unknown := webhook("/_igproxy/webhook", strings.Repeat("x", 3<<20+1), signatureOf(testSecret, strings.Repeat("x", 3<<20+1)))
	unknown.ContentLength = -1
	broken := webhook("/_igproxy/webhook", "", right)
	broken.Body = io.NopCloser(iotest.ErrReader(io.ErrUnexpectedEOF))
	for name, c := range map[string]struct {
		r               *http.Request
		status, subcode int
	}{
		"another secret":                 {webhook("/_igproxy/webhook", webhookBody, signatureOf("another-secret", webhookBody)), 403, 990031},
		"another body":                   {webhook("/_igproxy/webhook", webhookBody+"\n", right), 403, 990031},
		"other escapes":                  {webhook("/_igproxy/webhook", strings.Replace(webhookBody, `\u00e4`, "ä", 1), right), 403, 990031},
		"the older header is wrong":      {old("wrong"), 403, 990031},
		"only the older header is right": {with(old(testSecret), "X-Hub-Signature-256", signatureOf("wrong", webhookBody)), 403, 990031},
		"no signature":                   {webhook("/_igproxy/webhook", webhookBody, ""), 400, 990029},
		"a malformed signature":          {webhook("/_igproxy/webhook", webhookBody, "sha256=canary"), 400, 990029},
		"two signatures":                 {with(webhook("/_igproxy/webhook", webhookBody, right), "X-Hub-Signature-256", right), 400, 990029},
		"GET":                            {get("/_igproxy/webhook?hub.mode=subscribe&hub.challenge=canary"), 400, 990001},
		"PUT":                            {httptest.NewRequest(http.MethodPut, "/_igproxy/webhook", nil), 400, 990001},
		"too large":                      {webhook("/_igproxy/webhook", strings.Repeat("x", 3<<20+1), right), 413, 990018},
		"too large, in chunks":           {unknown, 413, 990018},
		"a body that breaks off":         {broken, 400, 990030},
		"no such app":                    {webhook("/apps/canary/_igproxy/webhook", webhookBody, right), 404, 990002},
		"another path":                   {webhook("/_igproxy/canary", webhookBody, right), 404, 990002},
		"no path":                        {webhook("/_igproxy", webhookBody, right), 404, 990002},
		"no path, with a slash":          {webhook("/_igproxy/", webhookBody, right), 404, 990002},
		"a longer path":                  {webhook("/_igproxy/webhook/canary", webhookBody, right), 404, 990002},
		"two slashes":                    {webhook("/_igproxy/webhook//", webhookBody, right), 404, 990002},
		"upper case":                     {webhook("/_igproxy/WEBHOOK", webhookBody, right), 404, 990002},
		"a version":                      {webhook("/v23.0/_igproxy/webhook", webhookBody, right), 404, 990002},
		"a web page":                     {with(webhook("/_igproxy/webhook", webhookBody, right), "Sec-Fetch-Site", "cross-site"), 403, 990005},
	} {
		wantRefusal(t, name, ask(p, c.r), c.status, c.subcode)
	}
}

func TestASignedRequestIsAnsweredWithItsPayload(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Apps[0].Previous, o.Apps[0].WebhookSecrets = NewSecret("the-previous-secret"), []Secret{NewSecret(fbSecret)}
	p := newProxy(t, o)
	const path = "/_igproxy/signed_request"
	multi := func(values ...string) *http.Request {
		var b bytes.Buffer
		m := multipart.NewWriter(&b)
		for _, v := range values {
			_ = m.WriteField("signed_request", v)
		}
		_ = m.Close()
		return postForm(path, m.FormDataContentType(), b.String())
	}
	good := signedRequest(testSecret, signedPayload)
	form := func(text string) *http.Request {
		return postForm(path, urlencoded, url.Values{"signed_request": {text}}.Encode())
	}
	for name, r := range map[string]*http.Request{
		"current":             form(good),
		"previous":            form(signedRequest("the-previous-secret", signedPayload)),
		"Facebook's":          form(signedRequest(fbSecret, signedPayload)),
		"multipart":           multi(good),
		"other fields":        postForm(path, urlencoded+"; charset=utf-8", "state=x&signed_request="+good+"&y"),
		"by path":             postForm("/apps/default"+path, urlencoded, "signed_request="+good),
		"not percent-encoded": postForm(path, urlencoded, "signed_request="+good),
	} {
		w := ask(p, r)
		if w.Code != 200 || w.Body.String() != signedPayload || w.Header().Get("Content-Type") != "application/json; charset=UTF-8" ||
			w.Header().Get("Cache-Control") != "no-store" || w.Header()["Cache-Status"] != nil {
			t.Errorf("%s: status: got %d, want 200; body: got %s, want %s; header: got %v, want application/json; charset=UTF-8 and no-store, but no Cache-Status", name, w.Code, w.Body, signedPayload, w.Header())
		}
	}
	var file bytes.Buffer
	m := multipart.NewWriter(&file)
	part, _ := m.CreateFormFile("signed_request", "x")
	_, _ = part.Write([]byte(good))
	_ = m.Close()
	twoTypes := with(form(good), "Content-Type", urlencoded)
	for name, c := range map[string]struct {
		r               *http.Request
		status, subcode int
	}{
		"another secret":    {form(signedRequest("another-secret", signedPayload)), 403, 990032},
		"malformed":         {form("canary"), 403, 990032},
		"no algorithm":      {form(signedRequest(testSecret, `{"user_id":"canary"}`)), 403, 990032},
		"not an object":     {form(signedRequest(testSecret, `"canary"`)), 403, 990032},
		"no field":          {postForm(path, urlencoded, "canary=1"), 400, 990015},
		"an empty field":    {form(""), 400, 990015},
		"twice":             {postForm(path, urlencoded, "signed_request="+good+"&signed_request="+good), 400, 990015},
		"twice, multipart":  {multi(good, good), 400, 990015},
		"a file":            {postForm(path, m.FormDataContentType(), file.String()), 400, 990015},
		"in the query":      {httptest.NewRequest(http.MethodPost, path+"?signed_request="+good, nil), 400, 990015},
		"query and form":    {postForm(path+"?signed_request="+good, urlencoded, "signed_request="+good), 400, 990015},
		"JSON":              {postForm(path, "application/json", `{"signed_request":"`+good+`"}`), 400, 990015},
		"no Content-Type":   {httptest.NewRequest(http.MethodPost, path, strings.NewReader("signed_request="+good)), 400, 990015},
		"two Content-Types": {twoTypes, 400, 990015},
		"a broken escape":   {postForm(path, urlencoded, "signed_request=%zcanary"), 400, 990015},
		"a broken boundary": {postForm(path, "multipart/form-data; boundary=canary", "x"), 400, 990015},
		"no body":           {postForm(path, urlencoded, ""), 400, 990015},
		"too large":         {postForm(path, urlencoded, "signed_request="+strings.Repeat("A", 64<<10)), 400, 990015},
		"GET":               {get(path + "?signed_request=" + good), 400, 990001},
	} {
		wantRefusal(t, name, ask(p, c.r), c.status, c.subcode)
	}
}

func TestASignatureCountsOnlyForItsApp(t *testing.T) {
	p, _ := newShops(t)
	shop, club := signatureOf("secret-of-the-shop", webhookBody), signatureOf("secret-of-the-club", webhookBody)
	for name, c := range map[string]struct {
		path, host, signature string
		status, subcode       int
	}{
		"the shop, by path":        {"/apps/shop/_igproxy/webhook", "localhost", shop, 204, 0},
		"the club, by path":        {"/apps/club/_igproxy/webhook", "localhost", club, 204, 0},
		"the shop, by Host":        {"/_igproxy/webhook", "shop.internal", shop, 204, 0},
		"path and Host differ":     {"/apps/club/_igproxy/webhook", "shop.internal", club, 204, 0},
		"another app's, by path":   {"/apps/shop/_igproxy/webhook", "localhost", club, 403, 990031},
		"another app's, by Host":   {"/_igproxy/webhook", "club.internal:8080", shop, 403, 990031},
		"no app":                   {"/_igproxy/webhook", "localhost", shop, 400, 990016},
		"client_id does not count": {"/_igproxy/webhook?client_id=21", "localhost", shop, 400, 990016},
		"a Host that is unknown":   {"/_igproxy/webhook", "evil.example", shop, 421, 990004},
	} {
		r, w := webhook(c.path, webhookBody, c.signature), httptest.NewRecorder()
		r.Host = c.host
		p.ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s: got %d %s, want %d", name, w.Code, w.Body, c.status)
		}
		if c.subcode > 0 {
			wantRefusal(t, name, w, c.status, c.subcode)
		}
	}
}

// A reload changes the secrets at once. During a rotation, the new and the previous secret are
// accepted.
func TestSecretsOfSignaturesAreReloaded(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	p := newProxy(t, o)
	for _, c := range []struct {
		secret, previous string
		more             []Secret // WebhookSecrets
		accepted         string   // the numbers of the accepted secrets
	}{
		{"secret-number-1", "", nil, "1"},
		{"secret-number-2", "secret-number-1", nil, "12"},
		{"secret-number-2", "", []Secret{NewSecret("secret-number-3")}, "23"},
		{"secret-number-2", "", []Secret{NewSecret("secret-number-4"), NewSecret("secret-number-3")}, "234"},
		{"secret-number-2", "secret-number-2", []Secret{NewSecret("secret-number-2")}, "2"},
	} {
		o.Apps = []App{{Secret: NewSecret(c.secret), WebhookSecrets: c.more}}
		if c.previous != "" {
			o.Apps[0].Previous = NewSecret(c.previous)
		}
		if err := p.Reload(o); err != nil {
			t.Fatal(err)
		}
		accepted := ""
		for n := 1; n <= 4; n++ {
			if ask(p, webhook("/_igproxy/webhook", webhookBody, signatureOf(fmt.Sprint("secret-number-", n), webhookBody))).Code == 204 {
				accepted += fmt.Sprint(n)
			}
		}
		if accepted != c.accepted {
			t.Errorf("with %+v: numbers of the accepted secrets: got %q, want %q", c, accepted, c.accepted)
		}
	}
}

// A path below /_igproxy is never passed through. This is also true of any spelling that a server
// could take for such a path.
func TestPathsBelowIgproxysPrefixAreNeverPassedThrough(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/_igproxy/x", "/_igproxy", "/_IGPROXY/webhook", "/%5figproxy/webhook", "/%255figproxy/webhook", "/_igproxy%2fwebhook", "//_igproxy/webhook", "/./_igproxy/webhook",
		"/x/../_igproxy/webhook", "/_igproxy;x=1/webhook", "/_igproxy./webhook", "/_igproxy%20/webhook", "/_igproxy%09", "/_igproxy%00/webhook", "/x%5c_igproxy", "/v23.0/_igproxy/webhook", "/me/_igproxy",
		"/apps/default/%5Figproxy/x", "/apps/default/_igproxy/x", "/apps/default//_igproxy/webhook"} {
		r := webhook("/", webhookBody, signatureOf(w.igSecret, webhookBody))
		parsed, err := url.Parse("http://localhost" + path)
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.URL.RawPath = parsed.Path, parsed.RawPath
		wantRefusal(t, path, ask(w.p, r), 404, 990002)
	}
	if n := len(w.graph.asked()) + len(w.login.asked()); n != 0 {
		t.Errorf("Meta was asked %d times, want 0", n)
	}
}

// Each call is logged and counted with its outcome. The log and the metrics do not repeat what was
// sent. Wrong signatures cause at most LogLines log lines a second.
func TestSignatureChecksAreLoggedAndCountedWithoutWhatWasSent(t *testing.T) {
	var log bytes.Buffer
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Logger, o.Metrics, o.LogLines = slog.New(slog.NewJSONHandler(&log, nil)), NewMetrics(), 3
	p := newProxy(t, o)
	form := func(secret string) *http.Request {
		return postForm("/_igproxy/signed_request", urlencoded, "signed_request="+signedRequest(secret, signedPayload))
	}
	_ = ask(p, webhook("/_igproxy/webhook", webhookBody, signatureOf(testSecret, webhookBody)))
	_ = ask(p, form(testSecret))
	_ = ask(p, form("another-secret"))
	_ = ask(p, webhook("/_igproxy/webhook", webhookBody, ""))
	for range 100 {
		_ = ask(p, webhook("/_igproxy/webhook", webhookBody, signatureOf("another-secret", webhookBody)))
	}
	got := map[string]int{}
	for line := range strings.Lines(log.String()) {
		var l struct {
			Outcome, Source, App, Grant, Class, Cause, Advice string
			Status, Subcode                                   int
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		got[fmt.Sprintf("%s %s %s %s %d %s %q", l.Outcome, l.Source, l.App, l.Grant, l.Status, l.Class, l.Cause)]++
		if (l.Advice != "") != (l.Outcome == "unverified") {
			t.Errorf("got the advice %q, want advice only with the outcome unverified: %s", l.Advice, line)
		}
	}
	for line, n := range map[string]int{
		`verified none default webhook 204  ""`:                                             1,
		`verified none default signed_request 200  ""`:                                      1,
		`unverified none default signed_request 403 signature "signed with another secret"`: 1,
		`rejected none default webhook 400 request ""`:                                      1,
		`unverified none default webhook 403 signature "signed with another secret"`:        2,
	} {
		if got[line] != n {
			t.Errorf("the log has %d lines %q, want %d; all lines: %v", got[line], line, n, got)
		}
	}
	w := httptest.NewRecorder()
	o.Metrics.Handler().ServeHTTP(w, get("/metrics"))
	for _, series := range []string{
		`igproxy_requests_total{app="default",grant="webhook",outcome="verified",source="none"} 1`,
		`igproxy_requests_total{app="default",grant="webhook",outcome="unverified",source="none"} 100`,
		`igproxy_requests_total{app="default",grant="signed_request",outcome="unverified",source="none"} 1`,
	} {
		if !strings.Contains(w.Body.String(), series) {
			t.Errorf("/metrics lacks %s", series)
		}
	}
	if all := log.String() + w.Body.String() + fmt.Sprintf("%+v", p.Failures()); strings.Contains(all, "canary") || strings.Contains(all, "sha256=") || strings.Contains(all, testSecret) {
		t.Errorf("the log, the metrics or the failures repeat what was sent: %s", all)
	}
}

// Calls below /_igproxy carry no token of Meta's, so a bearer token in such a call is igproxy's own
// token.
func TestOwnTokenAsBearerIsAcceptedBelowIgproxysPrefix(t *testing.T) {
	o := optionsFor(t, "https://127.0.0.1:1", nil)
	o.Bearers = trusting(sha256.Sum256([]byte(ownToken))).digests
	p := newProxy(t, o)
	for token, status := range map[string]int{ownToken: http.StatusNoContent, ownToken + "x": http.StatusUnauthorized, "": http.StatusUnauthorized} {
		for _, path := range []string{"/_igproxy/webhook", "/apps/default/_igproxy/webhook"} {
			r := webhook(path, webhookBody, signatureOf(testSecret, webhookBody))
			r.Header.Set("Authorization", "Bearer "+token)
			if w := ask(p, r); w.Code != status {
				t.Errorf("%s with %q: got %d %s, want %d", path, token, w.Code, w.Body, status)
			}
		}
	}
}
