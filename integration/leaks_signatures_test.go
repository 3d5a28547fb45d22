package integration

// This part of TestNoLeaks sends webhooks and signed requests.

import (
	"crypto/sha1"
	"encoding/hex"
	"strings"
)

// signatures sends webhooks and signed requests, signed with each of these secrets and with a
// secret that the app does not have. prefix is the part of the path that names the app. The
// contents of a webhook must not appear anywhere. The contents of a signed request may appear only
// in the response to this request.
func (l *leaks) signatures(p *process, prefix string, secrets ...string) {
	ask := func(what, path, body string, want int, fields ...string) response {
		r, err := sendRequest(l.t.Context(), "POST", p.URL+prefix+path, body, append(fields, "X-Igproxy-Token", l.bearer)...)
		if err != nil || r.status != want {
			l.t.Errorf("%s: got %d %s, %v; want %d", what, r.status, r.body, err, want)
		}
		return r
	}
	said := l.hide("the content of a webhook")
	body := `{"object":"instagram","entry":[{"id":"` + said + `"}]}`
	payload := `{"algorithm":"HMAC-SHA256","user_id":"` + l.hide("the content of a signed request") + `"}`
	const form = "application/x-www-form-urlencoded"
	for i, secret := range append(secrets, l.otherSecret) {
		accepted, answered := 204, 200
		if i == len(secrets) {
			accepted, answered = 403, 403
		}
		older := "sha1=" + hex.EncodeToString(macOf(sha1.New, secret, body))
		for _, r := range []response{
			ask("a webhook", "/_igproxy/webhook", body, accepted, "X-Hub-Signature-256", signs(secret, body)),
			ask("a webhook with the older signature", "/_igproxy/webhook", body, accepted, "X-Hub-Signature", older),
			ask("a webhook with another body", "/_igproxy/webhook", body+said, 403, "X-Hub-Signature-256", signs(secret, body)),
			ask("a webhook without a signature", "/_igproxy/webhook", body, 400),
			ask("a webhook to nowhere", "/_igproxy/"+said, body, 404, "X-Hub-Signature-256", signs(secret, body)),
			ask("a secret instead of a signature", "/_igproxy/webhook", body, 400, "X-Hub-Signature-256", "sha256="+secret),
			ask("a secret instead of a signed request", "/_igproxy/signed_request", "signed_request="+secret, 403, "Content-Type", form),
			ask("a form with other fields", "/_igproxy/signed_request", "payload="+said, 400, "Content-Type", form),
		} {
			l.record("responses", r.status, r.body, r.header)
		}
		r := ask("a signed request", "/_igproxy/signed_request", signedForm(secret, payload), answered, "Content-Type", form)
		if r.status == 200 && r.body != payload {
			l.t.Errorf("a signed request got %s, want its payload %s", r.body, payload)
		}
		l.record("responses", r.status, strings.Replace(r.body, payload, "", 1), r.header)
	}
}
