package proxy

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// proofOf returns the appsecret_proof as Meta's documentation describes it.
func proofOf(secret, token string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(token))
	return hex.EncodeToString(mac.Sum(nil))
}

// igproxy adds the appsecret_proof to the query or the form that has the token, and to the query
// for a bearer token. The new proof replaces each proof that the app sent. All other bytes stay
// unchanged. A call stays wholly unchanged if igproxy finds no token in it, or different tokens.
// igproxy does not look for a token in JSON or in a large form.
func TestPassedThroughCallsGetTheProofOfTheirToken(t *testing.T) {
	proof := "appsecret_proof=" + proofOf(pagesSecret, "EAA|1")
	form := "application/x-www-form-urlencoded"
	large := "access_token=EAA%7C1&pad=" + strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct {
		query, body, kind, bearer string
		want                      string
	}{
		"query":            {query: "fields=id&access_token=EAA%7C1&&x=%zz", want: "?fields=id&access_token=EAA%7C1&&x=%zz&" + proof + "|"},
		"query, replaced":  {query: "appsecret_proof=old&access_token=EAA%7C1&appsecret%5Fproof=older", want: "?access_token=EAA%7C1&" + proof + "|"},
		"bearer":           {query: "fields=id", bearer: "EAA|1", want: "?fields=id&" + proof + "|"},
		"bearer alone":     {bearer: "EAA|1", want: "?" + proof + "|"},
		"bearer and query": {query: "access_token=EAA%7C1", bearer: "EAA|1", want: "?access_token=EAA%7C1&" + proof + "|"},
		"form":             {query: "a=b", body: "access_token=EAA%7C1&caption=%C3%A9+x", kind: form, want: "?a=b|access_token=EAA%7C1&caption=%C3%A9+x&" + proof},
		"form, replaced":   {query: "appsecret_proof=old", body: "appsecret_proof=old&access_token=EAA%7C1", kind: form + "; charset=utf-8", want: "|access_token=EAA%7C1&" + proof},
		"query, old proof in form": {query: "access_token=EAA%7C1", body: "appsecret_proof=old&caption=x", kind: form,
			want: "?access_token=EAA%7C1&" + proof + "|caption=x"},
		"two tokens":              {query: "access_token=EAA%7C1&access_token=EAA2&appsecret_proof=own", want: "?access_token=EAA%7C1&access_token=EAA2&appsecret_proof=own|"},
		"another token in form":   {query: "access_token=EAA1", body: "access_token=EAA2", kind: form, want: "?access_token=EAA1|access_token=EAA2"},
		"no token":                {query: "fields=id&appsecret_proof=own", want: "?fields=id&appsecret_proof=own|"},
		"empty token":             {query: "access_token=", want: "?access_token=|"},
		"JSON":                    {body: `{"access_token":"EAA|1"}`, kind: "application/json", want: `|{"access_token":"EAA|1"}`},
		"query, JSON body":        {query: "access_token=EAA%7C1", body: `{"a":1}`, kind: "application/json", want: "?access_token=EAA%7C1&" + proof + `|{"a":1}`},
		"a large form":            {body: large, kind: form, want: "|" + large},
		"a large form, own proof": {query: "appsecret_proof=own", body: large, kind: form, want: "?appsecret_proof=own|" + large},
		"query, large form body":  {query: "access_token=EAA%7C1", body: large, kind: form, want: "?access_token=EAA%7C1&" + proof + "|" + large},
		"a form without a token":  {query: "a=b", body: "caption=x", kind: form, want: "?a=b|caption=x"},
	} {
		for _, chunked := range []bool{false, true} {
			if chunked && c.body == "" {
				continue
			}
			w, facebook := facebookWorld(t)
			o := optionsFor(t, w.graph.url.String(), nil)
			o.FacebookURL, o.Passthrough = facebook.url, passing(PassthroughOptions{})
			o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), AppSecretProof: true}}
			w.p = newProxy(t, o)
			s := overHTTP(t, w.p)
			r, _ := http.NewRequest(http.MethodGet, s.URL+"/v23.0/me?"+c.query, nil)
			if r.URL.RawQuery == "" {
				r.URL.ForceQuery = false
			}
			if c.body != "" {
				r, _ = http.NewRequest(http.MethodPost, s.URL+"/v23.0/me?"+c.query, strings.NewReader(c.body))
				r.Header.Set("Content-Type", c.kind)
				if chunked {
					r.ContentLength = -1
				}
			}
			if c.bearer != "" {
				r.Header.Set("Authorization", "Bearer "+c.bearer)
			}
			res, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			_, got, _ := strings.Cut(facebook.asked()[0], "/me")
			if got = strings.TrimPrefix(got, "?|"); strings.TrimPrefix(got, "|") != strings.TrimPrefix(c.want, "|") {
				t.Errorf("%s, chunked %v:\ngot  %.300s\nwant %.300s", name, chunked, got, c.want)
			}
		}
	}
}

// Only passed-through calls get a proof, and only those of an app with AppSecretProof. During a
// rotation, the proof is made with the secret that Meta accepted last.
func TestTheProofIsMadeWithTheAppsSecretInUse(t *testing.T) {
	w, facebook := facebookWorld(t)
	w.get("/v23.0/me?access_token=EAA")
	if asked := facebook.asked()[0]; strings.Contains(asked, "appsecret_proof") {
		t.Errorf("an app without AppSecretProof: Meta got %s, want no appsecret_proof", asked)
	}
	o := optionsFor(t, w.graph.url.String(), nil)
	o.FacebookURL, o.Passthrough = facebook.url, passing(PassthroughOptions{})
	const previous = "previous-secret-0123456789"
	o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), Previous: NewSecret(previous), AppSecretProof: true},
		{Label: "other", Service: Facebook, ID: "1787", Secret: NewSecret("other-secret-0123456789")}}
	w.p = newProxy(t, o)
	facebook.mu.Lock()
	facebook.says = func(r *http.Request, _ url.Values) (int, string) {
		if r.URL.Query().Get("client_secret") == pagesSecret {
			return 400, `{"error":{"message":"Error validating client secret.","type":"OAuthException","code":1}}`
		}
		return 200, facebookAnswer
	}
	facebook.mu.Unlock()
	if got := w.get("/apps/pages/oauth/access_token?grant_type=fb_exchange_token&fb_exchange_token=EAA&appsecret_proof=own"); got.Code != 200 {
		t.Fatalf("the exchange: got %d %s, want 200", got.Code, got.Body)
	}
	n := len(facebook.asked())
	w.get("/apps/pages/me?access_token=EAA")
	w.get("/apps/other/me?access_token=EAA&appsecret_proof=own")
	asked := facebook.asked()
	for _, call := range asked[:n] {
		if strings.Contains(call, "appsecret_proof") {
			t.Errorf("a token call: Meta got %s, want no appsecret_proof", call)
		}
	}
	if want := "GET /me?access_token=EAA&appsecret_proof=" + proofOf(previous, "EAA") + "|"; asked[n] != want {
		t.Errorf("the app pages: Meta got %s, want %s", asked[n], want)
	}
	if want := "GET /me?access_token=EAA&appsecret_proof=own|"; asked[n+1] != want {
		t.Errorf("the app other: Meta got %s, want %s", asked[n+1], want)
	}
}
