package integration

// This part of TestNoLeaks drives a Facebook app: a login in the forms that clients use, an app
// token, the inspection of tokens with the app token, and calls that are passed through with an
// appsecret_proof.

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// provenKind is the kind of tokens in calls to which igproxy adds an appsecret_proof.
const provenKind = "a token passed with a proof"

// facebook logs in to the Facebook app, and uses the tokens.
func (l *leaks) facebook(p *process) {
	const path = "/apps/pages/v23.0/oauth/access_token"
	code := l.newCredential(tokenCalls[8].kind, tokenCalls[8].good) // a code for Facebook
	short := l.form(p, code, path, "code", code, "redirect_uri", callback)
	long := l.form(p, short, path, "grant_type", "fb_exchange_token", "fb_exchange_token", short)
	extended := l.object(p, long, path, "grant_type", "fb_exchange_token", "fb_exchange_token", long)
	l.inspect(p, extended)

	host := l.meta[3] // graph.facebook.com
	appToken := func() int {
		r, err := sendRequest(l.t.Context(), "GET", p.URL+path+"?grant_type=client_credentials&client_id="+pagesID, "", "X-Igproxy-Token", l.bearer)
		must(l.t, err)
		l.answered(pagesID, r)
		return r.status
	}
	host.SetFault("reflect")
	if got := appToken(); got != 502 {
		l.t.Errorf("the app token, with the secret in Meta's response: got %d, want 502", got)
	}
	host.SetFault("")
	// igproxy remembers the failure for a moment.
	eventually(l.t, "the app token is issued", func() bool { return appToken() == 200 })
	all := prefixes("EAA")
	twelveAtATime(len(all), func(i int) { l.inspect(p, l.newCredential("a token to inspect", all[i])) })
	for _, c := range []passedCall{
		{provenKind, "GET", "/apps/pages/me", "bearer"},
		{provenKind, "POST", "/apps/pages/v23.0/me/feed", "form"},
	} {
		for _, prefix := range []string{"EAA", "reflecterr-", "reset-"} {
			if r := l.pass(p, c, prefix); prefix == "EAA" && r.status != 200 {
				l.t.Errorf("%s by %s: got %d %s, want 200", c.kind, c.where, r.status, r.body)
			}
		}
	}
	proofs := 0
	for _, r := range host.Requests() {
		if proof := "appsecret_proof="; strings.Contains(r.RawQuery, proof) || strings.Contains(string(r.Body), proof) {
			proofs++
		}
	}
	if proofs < 4 {
		l.t.Errorf("%d calls to Facebook had a proof, want at least 4", proofs)
	}
}

// form sends pairs as a form, and returns the token in the response. The parameter text is the
// token or code in pairs.
func (l *leaks) form(p *process, text, path string, pairs ...string) (token string) {
	values := url.Values{"client_id": {pagesID}}
	for i := 0; i < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	return l.sendBody(p, text, path, "application/x-www-form-urlencoded", values.Encode())
}

// object does the same as form, with a JSON object.
func (l *leaks) object(p *process, text, path string, pairs ...string) (token string) {
	members := map[string]string{"client_id": pagesID}
	for i := 0; i < len(pairs); i += 2 {
		members[pairs[i]] = pairs[i+1]
	}
	body, err := json.Marshal(members)
	must(l.t, err)
	return l.sendBody(p, text, path, "application/json", string(body))
}

func (l *leaks) sendBody(p *process, text, path, kind, body string) (token string) {
	r, err := sendRequest(l.t.Context(), http.MethodPost, p.URL+path, body, "X-Igproxy-Token", l.bearer, "Content-Type", kind)
	if err != nil || r.status != 200 {
		l.t.Fatalf("a POST of %s got %d %s, %v; want 200", kind, r.status, r.body, err)
	}
	l.answered(text, r)
	return r.token()
}

// inspect calls /debug_token for a token three times: without access_token, and with two values of
// access_token. igproxy replaces both values with the app token.
func (l *leaks) inspect(p *process, token string) {
	for _, access := range []string{"", "&access_token=APP", "&access_token=" + pagesID + "%7Cunused"} {
		r, err := sendRequest(l.t.Context(), "GET", p.URL+"/apps/pages/debug_token?input_token="+url.QueryEscape(token)+access, "", "X-Igproxy-Token", l.bearer)
		if err != nil {
			l.t.Errorf("/debug_token: %v", err)
			return
		}
		l.record("responses", r.status, r.body, r.header)
	}
}
