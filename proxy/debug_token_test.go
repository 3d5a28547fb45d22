package proxy

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// debugWorld returns the same as facebookWorld with otherApps, but with DebugToken and with two
// Facebook apps. Facebook and Threads answer every call with debugAnswer.
func debugWorld(t *testing.T) (w *world, facebook *service) {
	w, facebook = newWorld(t), newService(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.LoginURL, o.ThreadsURL, o.FacebookURL, o.DebugToken = w.login.url, w.threads.url, facebook.url, true
	o.Apps = append([]App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret)},
		{Label: "more", Service: Facebook, ID: "1787", Secret: NewSecret("secret-of-more-0123456789")}}, otherApps...)
	o.Passthrough = passing(PassthroughOptions{})
	w.p = newProxy(t, o)
	for _, s := range []*service{facebook, w.threads} {
		s.say(200, debugAnswer)
	}
	return w, facebook
}

const debugAnswer = `{"data":{"app_id":"1786","type":"USER","is_valid":true,"expires_at":0,"scopes":["a"],"user_id":"17841400000000001"}}`

// An app can call /debug_token without its secret, because igproxy adds the app's own token. See
// takesAppToken for the calls that igproxy passes through instead.
func TestDebugTokenIsCalledWithTheAppsOwnToken(t *testing.T) {
	for name, c := range map[string]struct {
		target, service, want string
	}{
		"no access_token": {"/apps/pages/v23.0/debug_token?input_token=EAA", "facebook", "/debug_token?access_token=" + pagesID + "%7C" + pagesSecret + "&input_token=EAA"},
		"the word APP":    {"/apps/pages/debug_token?input_token=EAA&access_token=APP", "facebook", "/debug_token?access_token=" + pagesID + "%7C" + pagesSecret + "&input_token=EAA"},
		"an app token with any secret": {"/debug_token?input_token=EAA&access_token=" + pagesID + "|unused", "facebook",
			"/debug_token?access_token=" + pagesID + "%7C" + pagesSecret + "&input_token=EAA"},
		"the other app's token": {"/debug_token?input_token=EAA&access_token=1787%7Cunused", "facebook",
			"/debug_token?access_token=1787%7Csecret-of-more-0123456789&input_token=EAA"},
		"the other app's client_id": {"/debug_token?input_token=EAA&client_id=1787", "facebook", "/debug_token?access_token=1787%7Csecret-of-more-0123456789&input_token=EAA"},
		"Threads":                   {"/debug_token?input_token=THAA&access_token=TH|" + clubID + "|unused", "threads", "/debug_token?access_token=TH%7C" + clubID + "%7Cthreads-secret-0123456789&input_token=THAA"},
		"a user's token": {"/apps/pages/v23.0/debug_token?input_token=EAA&access_token=EAAuser", "facebook",
			"/v23.0/debug_token?input_token=EAA&access_token=EAAuser"},
		"an unknown app's token":             {"/apps/pages/debug_token?input_token=EAA&access_token=1|x", "facebook", "/debug_token?input_token=EAA&access_token=1|x"},
		"an app other than the path's":       {"/apps/pages/debug_token?input_token=EAA&access_token=1787|x", "facebook", "/debug_token?input_token=EAA&access_token=1787|x"},
		"an ID that begins with a known one": {"/debug_token?input_token=EAA&access_token=17860%7Cabc&client_id=" + pagesID, "facebook", "/debug_token?input_token=EAA&access_token=17860%7Cabc&client_id=" + pagesID},
	} {
		w, facebook := debugWorld(t)
		s := map[string]*service{"facebook": facebook, "threads": w.threads}[c.service]
		for range 2 { // nothing is remembered
			if got := w.get(c.target); got.Code != 200 || got.Body.String() != debugAnswer {
				t.Errorf("%s: got %d %s, want 200 %s", name, got.Code, got.Body, debugAnswer)
			}
		}
		if asked := s.asked(); len(asked) != 2 || asked[1] != "GET "+c.want+"|" {
			t.Errorf("%s: %s was asked %q, want %q twice", name, c.service, asked, "GET "+c.want+"|")
		}
	}
}

// Without the app's ID, Meta would refuse these calls. A call for an app token would get code 101,
// which igproxy treats like a refusal of the client secret: igproxy would pause the app.
func TestACallThatNeedsTheAppsIDIsRefusedWithoutIt(t *testing.T) {
	w := newWorld(t)
	o := optionsFor(t, w.graph.url.String(), nil)
	o.ThreadsURL, o.DebugToken = w.threads.url, true
	o.Apps = []App{{Label: "threads", Service: Threads, Secret: NewSecret(w.threadSecret)}}
	w.p = newProxy(t, o)
	w.threads.say(400, `{"error":{"message":"Missing client_id parameter.","type":"OAuthException","code":101}}`)
	for _, target := range []string{"/oauth/access_token?grant_type=client_credentials", "/debug_token?input_token=THAA"} {
		if got := w.get(target); got.Code != 400 || !strings.Contains(got.Body.String(), `"error_subcode":990019`) || !strings.Contains(got.Body.String(), "app_id") {
			t.Errorf("%s: got %d %s, want 400 with 990019 and app_id", target, got.Code, got.Body)
		}
	}
	if asked := w.threads.asked(); len(asked) != 0 {
		t.Errorf("Threads was asked %q, want no calls", asked)
	}
	w.threads.say(200, facebookAnswer)
	if got := w.get("/access_token?grant_type=th_exchange_token&access_token=THAA"); got.Code != 200 {
		t.Errorf("an exchange, which needs no ID: got %d %s, want 200", got.Code, got.Body)
	}
}

// The bearer token is the user's, so the call is passed through with this token.
func TestDebugTokenWithAUsersBearerIsPassedThrough(t *testing.T) {
	w, facebook := debugWorld(t)
	got := ask(w.p, with(get("/apps/pages/debug_token?input_token=EAA"), "Authorization", "Bearer EAAuser"))
	if got.Code != 200 || facebook.head[0].Get("Authorization") != "Bearer EAAuser" || strings.Contains(facebook.asked()[0], pagesSecret) {
		t.Errorf("got %d after the calls %q, the first with the header %v; want 200 after a call with the bearer token and without the secret", got.Code, facebook.asked(), facebook.head[0])
	}
}

// igproxy sends the secret in a call of /debug_token only if the operator has set
// debug_token.enabled. No response to an app contains the secret.
func TestDebugTokenDoesNotLeakTheSecret(t *testing.T) {
	w, facebook := facebookWorld(t)
	facebook.say(200, debugAnswer)
	w.get("/debug_token?input_token=EAA&access_token=APP")
	w.get("/debug_token?input_token=EAA")
	if n := len(facebook.asked()); n != 2 {
		t.Errorf("without debug_token.enabled, Facebook was asked %d times, want 2", n)
	}
	for _, asked := range facebook.asked() {
		if strings.Contains(asked, pagesSecret) {
			t.Errorf("without debug_token.enabled, Facebook got the secret: %s", asked)
		}
	}
	w, facebook = debugWorld(t)
	for input, c := range map[string]struct { // each case has its own token, because a failure pauses the token
		status, want int
		body         string
	}{
		"EAAinput0": {200, 502, `{"data":{"secret":"` + pagesID + `|` + pagesSecret + `"}}`},
		"EAAinput1": {400, 400, `{"error":{"message":"wrong token ` + pagesID + `|` + pagesSecret + ` or EAAinput1","type":"OAuthException","code":190}}`},
	} {
		facebook.say(c.status, c.body)
		got := w.get("/apps/pages/debug_token?input_token=" + input)
		if got.Code != c.want || strings.Contains(got.Body.String(), pagesSecret) || strings.Contains(got.Body.String(), input) {
			t.Errorf("Facebook answers %d: got %d %s, want %d without the secret and the token", c.status, got.Code, got.Body, c.want)
		}
	}
	// A refused app token does not show whether its secret is right.
	if state := w.p.Apps()[0].ClientSecret; state != "unproven" {
		t.Errorf("the state of the secret is %s, want unproven", state)
	}
}

// During a rotation, Meta may refuse the app's own token because of the secret in it.
func TestDebugTokenTriesBothSecretsOfARotation(t *testing.T) {
	const previous = "previous-secret-0123456789"
	for accepted, calls := range map[string][]int{pagesSecret: {1, 1}, previous: {2, 1}, "another-secret-0123456789": {2, 2}} {
		facebook := newService(t)
		o := optionsFor(t, facebook.url.String(), nil)
		o.FacebookURL, o.DebugToken = facebook.url, true
		o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret), Previous: NewSecret(previous)}}
		p := newProxy(t, o)
		facebook.mu.Lock()
		facebook.says = func(r *http.Request, _ url.Values) (int, string) {
			if r.URL.Query().Get("access_token") != pagesID+"|"+accepted {
				return 400, `{"error":{"message":"Invalid OAuth access token signature.","type":"OAuthException","code":190}}`
			}
			return 200, debugAnswer
		}
		facebook.mu.Unlock()
		for _, want := range calls {
			before := len(facebook.asked())
			got := ask(p, get("/debug_token?input_token=EAA"))
			if known := accepted == pagesSecret || accepted == previous; (got.Code == 200) != known || len(facebook.asked())-before != want {
				t.Errorf("%s accepted: got %d %s, want status 200: %v; Facebook was asked %d times, want %d", accepted, got.Code, got.Body, known, len(facebook.asked())-before, want)
			}
		}
		if state := p.Apps()[0].ClientSecret; state == secretRefused || state == secretAccepted && accepted == "another-secret-0123456789" {
			t.Errorf("%s accepted: the state is %s; want unproven or, if the accepted secret is one of the app's, accepted", accepted, state)
		}
	}
}

func TestDebugTokenNeedsAnInputToken(t *testing.T) {
	w, facebook := debugWorld(t)
	for target, says := range map[string]string{
		"/apps/pages/debug_token":                             "input_token is missing",
		"/apps/pages/debug_token?input_token=a&input_token=b": "more than once",
		"/debug_token?input_token=a":                          "/apps/pages/, /apps/more/, /apps/club/",
	} {
		if got := w.get(target); got.Code != 400 || !strings.Contains(got.Body.String(), says) {
			t.Errorf("%s: got %d %s, want 400 with %q", target, got.Code, got.Body, says)
		}
	}
	if n := len(facebook.asked()); n != 0 {
		t.Errorf("Facebook was asked %d times, want 0", n)
	}
	post := w.post("/apps/pages/debug_token", url.Values{"input_token": {"EAA"}, "access_token": {"APP"}})
	if asked := facebook.asked(); post.Code != 200 || len(asked) != 1 || !strings.HasPrefix(asked[0], http.MethodPost) || strings.Contains(asked[0], pagesSecret) {
		t.Errorf("a POST got %d after %q, want 200 after one POST without the secret", post.Code, asked)
	}
}

// igproxy refuses its own token as the bearer token of /debug_token if the query has no
// access_token. Without Options.Bearers, igproxy sends the bearer token of such a call to Meta, so
// no app may make such calls.
func TestIgproxysOwnTokenAsBearerOfDebugTokenIsNeverSentToMeta(t *testing.T) {
	for target, want := range map[string]int{"/debug_token?input_token=EAA": 401, "/debug_token?input_token=EAA&access_token=APP": 200} {
		for _, checked := range []bool{true, false} {
			if want == 401 && !checked {
				continue // with Bearers, such a call gets 401, so no app makes it
			}
			facebook := newService(t)
			facebook.say(200, `{"data":{"is_valid":true}}`)
			o := optionsFor(t, facebook.url.String(), nil)
			o.Cache, o.Passthrough, o.DebugToken = newCache(t), passing(PassthroughOptions{}), true
			o.Apps = []App{{Label: "pages", Service: Facebook, ID: pagesID, Secret: NewSecret(pagesSecret)}}
			if checked {
				o.Bearers = trusting(sha256.Sum256([]byte(ownToken))).digests
			}
			w := ask(newProxy(t, o), with(get(target), "Authorization", "Bearer "+ownToken))
			if checked && w.Code != want {
				t.Errorf("%s (with Bearers): got %d %s, want %d", target, w.Code, w.Body, want)
			}
			for i, asked := range facebook.asked() {
				if all := asked + fmt.Sprint(facebook.head[i]); strings.Contains(all, ownToken) {
					t.Errorf("%s (with Bearers: %v): Facebook got %s, want no call with igproxy's own token", target, checked, all)
				}
			}
		}
	}
}
