package integration

// This part of TestNoLeaks sends calls that are passed through. The user's token is in the query,
// in a Bearer header or in a form. The calls also have igproxy's own token, and one has a client
// secret that the app adds. The test also sends requests with each secret in a wrong place.

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// passedCall is a call that is passed through.
type passedCall struct {
	kind   string // the kind of the token that it sends
	method string
	path   string
	where  string // the place of the token: query, bearer or form
}

var passing = []passedCall{
	{"a token passed in the query", "GET", "/v23.0/me/media", "query"},
	{"a token passed in a Bearer header", "GET", "/me", "bearer"},
	{"a token passed in a form", "POST", "/me/media", "form"},
	{"a token passed to Threads", "GET", "/apps/threads/v1.0/me", "query"},
	{provenKind, "GET", "/apps/pages/v23.0/me", "query"},
}

// gotInPassing is the place for what Meta got in passed-through calls. It may contain the tokens
// that apps sent, but not the secrets with which the sidecars are configured.
const gotInPassing = "what Meta got in passed-through calls"

// ask makes the call. igproxy's own token is sent as a header field or, where possible, as the
// password of Basic authentication.
func (c passedCall) ask(ctx context.Context, p *process, text, bearer string) (response, error) {
	target, token := p.URL+c.path, url.Values{"access_token": {text}, "fields": {"id,username"}}.Encode()
	switch c.where {
	case "query":
		own := base64.StdEncoding.EncodeToString([]byte("igproxy:" + bearer))
		return sendRequest(ctx, c.method, target+"?"+token, "", "Authorization", "Basic "+own)
	case "form":
		return sendRequest(ctx, c.method, target, token, "X-Igproxy-Token", bearer, "Content-Type", "application/x-www-form-urlencoded")
	}
	return sendRequest(ctx, c.method, target, "", "X-Igproxy-Token", bearer, "Authorization", "Bearer "+text)
}

// pass makes the call with a new token that has this prefix. It records the response, without the
// token if Meta repeats it.
func (l *leaks) pass(p *process, c passedCall, prefix string) response {
	text := l.newCredential(c.kind, prefix)
	r, err := c.ask(l.t.Context(), p, text, l.bearer)
	if err != nil && r.status == 0 { // a passed-through response may be cut short
		l.t.Errorf("%s, %s: %v", c.kind, prefix, err)
	}
	answer := fmt.Sprint(r.status, r.body, r.header)
	if r.header.Get("X-Fb-Trace-Id") != "" { // from Meta
		for _, spelled := range []string{text, url.QueryEscape(text), strings.ReplaceAll(text, "/", `\/`)} {
			answer = strings.ReplaceAll(answer, spelled, "")
		}
	}
	l.record("passed-through responses", answer)
	return r
}

// passes makes every call with every fault, and records what Meta got.
func (l *leaks) passes(p *process) {
	for _, c := range passing {
		good := "IGAA"
		switch {
		case strings.HasPrefix(c.path, "/apps/threads"):
			good = "THAA"
		case strings.HasPrefix(c.path, "/apps/pages"):
			good = "EAA"
		}
		if r := l.pass(p, c, good); r.status != 200 {
			l.t.Errorf("%s: got %d %s, want 200", c.kind, r.status, r.body)
		}
		all := append(prefixes(good), pausingFaults...)
		twelveAtATime(len(all), func(i int) { l.pass(p, c, all[i]) })
		l.pass(p, c, closingFault)
	}
	sent, reached := len(passing)*len(append(prefixes(""), pausingFaults...)), 0
	for _, ig := range l.meta {
		for _, r := range ig.Requests() {
			if !strings.HasSuffix(r.Endpoint, "read") && !strings.HasSuffix(r.Endpoint, "write") {
				continue
			}
			reached++
			l.record(gotInPassing, r.Method, r.URI, r.Header, string(r.Body))
		}
	}
	if reached < sent*3/4 { // each stand-in keeps only its latest 256 requests
		l.t.Errorf("%d of %d calls are among the latest requests that Meta got, want at least three quarters", reached, sent)
	}
	// A client secret that an app sends is passed on, and Instagram may repeat it to the app.
	secret, text := l.hide("a secret that an app sends itself"), l.newCredential(passing[0].kind, "reflecterr-")
	r, err := fetchWith(l.t.Context(), http.DefaultClient, p.URL+"/me?"+url.Values{"access_token": {text}, "client_secret": {secret}}.Encode(), "X-Igproxy-Token", l.bearer)
	if err != nil || r.status != 400 || !strings.Contains(r.body, secret) {
		l.t.Errorf("a call with a client secret: got %d %s, %v; want 400 with the secret that the app sent", r.status, r.body, err)
	}
}

// misplacedForms puts each secret into many places of forms and other requests.
func (l *leaks) misplacedForms(p *process) {
	host := strings.TrimPrefix(p.URL, "http://")
	const good = "client_id=101&grant_type=authorization_code&redirect_uri=https%3A%2F%2Fapp.example%2Fcallback"
	post := func(target, kind, body string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nX-Igproxy-Token: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
			target, host, l.bearer, kind, len(body), body)
	}
	get := func(target string, fields ...string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\nX-Igproxy-Token: %s\r\nConnection: close\r\n%s\r\n", target, host, l.bearer, strings.Join(fields, ""))
	}
	const path, form = "/oauth/access_token", "application/x-www-form-urlencoded"
	own := hidden{text: l.newCredential(tokenCalls[0].kind, tokenCalls[0].good)}
	for _, c := range append(l.configuredSecrets(), own) {
		raw, escaped := c.text, url.QueryEscape(c.text)
		part := "--b\r\nContent-Disposition: form-data; name=%q%s\r\n\r\n%s\r\n--b--\r\n"
		for _, request := range []string{
			post(path, form, good+"&code="+escaped+"%20x"),
			post(path, form, good+"&code="+escaped+"&code="+escaped),
			post(path, form, good+"&code["+escaped+"]=1&"+escaped+"=%zz"),
			post(path, form, good+"&client_secret="+escaped),
			post(path, form, good+"&access_token="+escaped),
			post(path, form, good+"%2F"+escaped+"&code=1"),
			post(path, form, "client_id="+escaped+"&grant_type=authorization_code&code=1"),
			post(path, form, "client_id=101&code=1&grant_type="+escaped),
			post(path, form, good+"&code="+strings.Repeat(escaped, 200)),
			post(path, form, good+"&code="+strings.Repeat(escaped, 3000)),
			post(path+"?code="+escaped, form, good),
			post(path, escaped, good),
			post(path, "multipart/form-data; boundary="+strings.Map(letter, raw), good+"&code="+escaped),
			post(path, "multipart/form-data; boundary=b", fmt.Sprintf(part, escaped, "", raw)),
			post(path, "multipart/form-data; boundary=b", fmt.Sprintf(part, "code", `; filename="`+escaped+`"`, raw)),
			post("/apps/"+escaped+path, form, good),
			post(path, "application/json", fmt.Sprintf(`{"grant_type":"fb_exchange_token","fb_exchange_token":%[1]q,"fb_exchange_token":%[1]q}`, raw)),
			post(path, "application/json", fmt.Sprintf(`{"grant_type":"fb_exchange_token","fb_exchange_token":[%q]}`, raw)),
			post(path, "application/json", fmt.Sprintf(`{"grant_type":"fb_exchange_token","access_token":%q}`, raw)),
			post(path, "application/json", fmt.Sprintf(`{"grant_type":%[1]q,%[1]q:%[1]q`, raw)),
			post(path, "application/json", fmt.Sprintf(`{"client_id":%[1]q,"grant_type":"client_credentials","x":%[1]q}`, raw)),
			post(path+"?fb_exchange_token="+escaped, form, "grant_type=fb_exchange_token"),
			get("/v23.0" + path + "?grant_type=fb_exchange_token&fb_exchange_token=" + escaped + "&fb_exchange_token=" + escaped),
			get("/debug_token?access_token=" + pagesID + "%7C" + escaped + "&input_token=" + escaped + "%20x"),
			get("/debug_token?access_token=" + escaped + "&input_token[]=" + escaped),
			get("/apps/pages/debug_token?access_token=APP&input_token=1&input_token=" + escaped),
			get("/apps/" + escaped + "/access_token?grant_type=ig_exchange_token&access_token=" + escaped),
			get("/access_token?grant_type=ig_exchange_token&client_id=" + escaped + "&access_token=" + escaped),
			// This request does not name an app.
			get("/access_token?grant_type=ig_exchange_token&access_token=" + escaped),
			get("/refresh_access_token?grant_type=" + escaped),
			get("/apps/shop/refresh_access_token?grant_type=ig_refresh_token&access_token=" + escaped + "&access_token=1"),
			get("/apps/shop/refresh_access_token?grant_type=th_refresh_token&access_token=" + escaped),
			get("/apps/shop/..%2faccess_token?access_token=" + escaped),
			get("/me", "Authorization: Basic ", base64.StdEncoding.EncodeToString([]byte("x:"+raw)), "\r\n", "Upgrade: ", raw, "\r\n"),
		} {
			l.send(host, request, "", c.text)
		}
	}
}
