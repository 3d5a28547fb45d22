package proxy

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

const (
	newSecret = "9b7e0c51d2f84a6e8d3f1a2b4c5d6e7f" // made up
	oldSecret = testSecret
)

// rotating returns a Proxy with both secrets, in front of a stand-in for Instagram that accepts the
// old secret.
func rotating(t *testing.T) (*Proxy, Options, *mock.Instagram, *bytes.Buffer) {
	t.Helper()
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	var log bytes.Buffer
	o.Cache, o.Metrics, o.Logger = newCache(t), NewMetrics(), textLogger(&log)
	o.Apps[0].Secret, o.Apps[0].Previous = NewSecret(newSecret), NewSecret(oldSecret)
	return newProxy(t, o), o, i, &log
}

// inUse returns the name (current or previous) of the secret that the metric reports as in use.
func inUse(t *testing.T, m *Metrics) (which string) {
	t.Helper()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "igproxy_client_secret_in_use" {
			continue
		}
		for _, sample := range f.GetMetric() {
			if sample.GetGauge().GetValue() == 1 {
				which += sample.GetLabel()[1].GetValue()
			}
		}
	}
	return which
}

func TestACallWithARefusedSecretIsRepeatedWithTheOtherSecret(t *testing.T) {
	p, o, i, log := rotating(t)
	o.Retries = 0 // a call with the other secret is not a retry: the refused call had no effect
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	step := func(name, token string, calls int, which string) {
		t.Helper()
		if w := ask(p, get(target(token))); w.Code != 200 || i.CallsFor(token) != calls || inUse(t, o.Metrics) != which || !p.Readiness().Ready {
			t.Errorf("%s: got %d, want 200; Meta got %d calls, want %d; the secret in use is %s, want %s; ready is %v, want true", name, w.Code, i.CallsFor(token), calls, inUse(t, o.Metrics), which, p.Readiness().Ready)
		}
	}
	if got := inUse(t, o.Metrics); got != "current" {
		t.Errorf("at the start the secret in use is %s, want current", got)
	}
	step("the dashboard still has the old secret", "IGAA-1", 2, "previous")
	step("the call after that", "IGAA-2", 1, "previous")
	i.SetSecrets(newSecret)
	step("the dashboard has the new secret", "IGAA-3", 2, "current")
	step("the call after that", "IGAA-4", 1, "current")
	if got := strings.Count(log.String(), "client secret switched"); got != 2 || strings.Contains(log.String(), oldSecret) || strings.Contains(log.String(), newSecret) {
		t.Errorf("%d switches were logged, want 2; the log must not contain a secret:\n%s", got, log)
	}
}

// The secret that works stays in use after a reload that adds or removes another secret.
func TestTheSecretInUseStaysInUseAcrossAReload(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	p := newProxy(t, o)
	for n, c := range []struct {
		current, previous, which string
		accepted                 string
		calls                    int
	}{
		{oldSecret, "", "current", oldSecret, 1},
		{newSecret, oldSecret, "previous", oldSecret, 1},
		{newSecret, oldSecret, "current", newSecret, 2},
		{newSecret, "", "current", newSecret, 1},
		{newSecret, newSecret, "current", newSecret, 1}, // two equal secrets count as one
	} {
		o.Apps[0].Secret, o.Apps[0].Previous = NewSecret(c.current), Secret{}
		if c.previous != "" {
			o.Apps[0].Previous = NewSecret(c.previous)
		}
		i.SetSecrets(c.accepted)
		if err := p.Reload(o); err != nil {
			t.Fatal(err)
		}
		token := "IGAA-" + string(rune('a'+n))
		if w := ask(p, get(target(token))); w.Code != 200 || i.CallsFor(token) != c.calls || inUse(t, o.Metrics) != c.which {
			t.Errorf("reload %d: got %d after %d calls, want 200 after %d; the secret in use is %s, want %s", n, w.Code, i.CallsFor(token), c.calls, inUse(t, o.Metrics), c.which)
		}
	}
}

func TestTwoRefusedSecretsPauseTheAppAndAreNotPrinted(t *testing.T) {
	p, o, i, log := rotating(t)
	i.SetSecrets("something-else-altogether")
	w := ask(p, get(target("IGAA-1")))
	if w.Code != 400 || i.Calls() != 2 || p.Readiness().Ready || inUse(t, o.Metrics) != "current" {
		t.Errorf("got %d after %d calls, want 400 after 2; ready is %v, want false; the secret in use is %s, want current", w.Code, i.Calls(), p.Readiness().Ready, inUse(t, o.Metrics))
	}
	if w := ask(p, get(target("IGAA-2"))); w.Code != 400 || i.Calls() != 2 {
		t.Errorf("during the pause: got %d after %d calls, want 400 and still 2 calls", w.Code, i.Calls())
	}
	if strings.Contains(log.String()+w.Body.String(), oldSecret) || strings.Contains(log.String()+w.Body.String(), newSecret) {
		t.Errorf("want no secret in the log and the response, got:\n%s\n%s", log, w.Body)
	}
}

// A call that was in flight when the secret was replaced neither pauses the app nor makes the Proxy
// unready, even if Meta refuses the old secret.
func TestACallWithTheOldSecretDoesNotPauseTheApp(t *testing.T) {
	came, gate := make(chan string, 10), make(chan struct{})
	upstream := newService(t)
	upstream.says = func(r *http.Request, _ url.Values) (int, string) {
		secret := r.URL.Query().Get("client_secret")
		came <- secret
		if r.URL.Query().Get("access_token") == "IGAA-slow" && secret == oldSecret {
			<-gate
		}
		if secret != newSecret {
			return 400, `{"error":{"message":"Error validating client secret.","type":"OAuthException","code":100}}`
		}
		return 200, goodToken
	}
	o := optionsFor(t, upstream.url.String(), nil)
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	p := newProxy(t, o)
	slow := make(chan int, 1)
	go func() { slow <- ask(p, get(target("IGAA-slow"))).Code }()
	<-came
	o.Apps = []App{{Secret: NewSecret(newSecret)}}
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	close(gate)
	if code := <-slow; code != 200 { // the call is repeated with the new secret
		t.Errorf("the call in flight got %d, want 200", code)
	}
	if w := ask(p, get(target("IGAA-next"))); w.Code != 200 || !p.Readiness().Ready {
		t.Errorf("the next call got %d, want 200; ready is %v, want true", w.Code, p.Readiness().Ready)
	}
}

// An answer to a call with a replaced secret changes nothing, whether it is a refusal or a token.
func TestAnAnswerAboutAReplacedSecretIsIgnored(t *testing.T) {
	gone, now, next := NewSecret("gone"), NewSecret("now"), NewSecret("next")
	refused := refusalAnswer(100, 0, "Error validating client secret.")
	for name, c := range map[string]struct {
		with, without Secret // see answer
		want          bool   // whether all secrets now count as refused
	}{"a replaced secret": {gone, Secret{}, false}, "a replaced secret, then one of two": {next, gone, false}, "one of two": {next, Secret{}, false}, "both": {next, now, true}, "both, in the other order": {now, next, true}} {
		s := &clientSecrets{}
		s.use([]Secret{next, now})
		a := refused
		a.with, a.without = c.with, c.without
		if got, _, _ := s.note(a, time.Now()); got != c.want || (s.standing() == secretRefused) != c.want {
			t.Errorf("%s: note reports %v, and the state is %s; want all secrets refused: %v", name, got, s.standing(), c.want)
		}
	}
	s := &clientSecrets{}
	s.use([]Secret{next, now})
	both := refused
	both.with, both.without = now, next
	s.note(both, time.Now())
	a := tokenAnswer(t, "IGAAlong", 60*24*time.Hour)
	a.with, a.without = gone, now
	if refused, accepted, inUse := s.note(a, time.Now()); refused || accepted || inUse != "" || s.standing() != secretRefused {
		t.Errorf("an answer to a call with a replaced secret: refused is %v, want false; accepted is %v, want false; inUse is %q, want no name; the state is %s, want refused", refused, accepted, inUse, s.standing())
	}
}

// A late answer to a call with the previously used secret does not put that secret back in use.
func TestALateAnswerDoesNotSwitchTheSecretBack(t *testing.T) {
	s := &clientSecrets{}
	one, two := NewSecret("one"), NewSecret("two")
	s.use([]Secret{two, one})
	a := tokenAnswer(t, "IGAAlong", 60*24*time.Hour)
	a.with, a.without = one, two
	if _, _, inUse := s.note(a, time.Now()); inUse != "previous" {
		t.Errorf("the secret in use is %q, want previous", inUse)
	}
	a.with, a.without = two, Secret{}
	_, _, inUse := s.note(a, time.Now())
	if now, _ := s.pick(Secret{}); inUse != "" || !now.equal(one) {
		t.Errorf("inUse is %q, want no name; the secret to send is %q, want \"one\"", inUse, now.Reveal())
	}
}

// The errors of the code exchange do not say whether Meta refuses the code or the secret, so a
// refused code is sent again with the other secret. If Meta refuses that call too, the first
// refusal is the answer, and neither secret counts as refused.
func TestARefusedCodeIsTriedWithTheOtherSecret(t *testing.T) {
	var mu sync.Mutex
	right := oldSecret
	upstream := newService(t)
	upstream.says = func(r *http.Request, form url.Values) (int, string) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case form.Get("code") == "used":
			return 400, `{"error_type":"OAuthException","code":400,"error_message":"This authorization code has been used"}`
		case form.Get("client_secret") != right:
			return 400, `{"error_type":"OAuthException","code":400,"error_message":"Error validating verification code"}`
		}
		return 200, codeAnswer
	}
	o := optionsFor(t, upstream.url.String(), nil)
	o.LoginURL = upstream.url
	o.Metrics = NewMetrics()
	o.Apps = []App{{ID: shopID, Secret: NewSecret(newSecret), Previous: NewSecret(oldSecret), RedirectURIs: []string{callback}}}
	w := &world{p: newProxy(t, o)}
	if r := w.post("/oauth/access_token", codeForm("used")); r.Code != 400 || len(upstream.asked()) != 2 || inUse(t, o.Metrics) != "current" {
		t.Errorf("a used code: got %d after %d calls, want 400 after 2; the secret in use is %s, want current", r.Code, len(upstream.asked()), inUse(t, o.Metrics))
	}
	if r := w.post("/oauth/access_token", codeForm("good")); r.Code != 200 || len(upstream.asked()) != 4 || inUse(t, o.Metrics) != "previous" {
		t.Errorf("a good code: got %d after %d calls, want 200 after 4; the secret in use is %s, want previous", r.Code, len(upstream.asked()), inUse(t, o.Metrics))
	}
	if r := w.post("/oauth/access_token", codeForm("better")); r.Code != 200 || len(upstream.asked()) != 5 {
		t.Errorf("the call after that: got %d after %d calls, want 200 after 5", r.Code, len(upstream.asked()))
	}
	o.Apps[0].Previous = Secret{}
	if err := w.p.Reload(o); err != nil {
		t.Fatal(err)
	}
	if r := w.post("/oauth/access_token", codeForm("once")); r.Code != 400 || len(upstream.asked()) != 6 {
		t.Errorf("with one secret: got %d after %d calls, want 400 after 6", r.Code, len(upstream.asked()))
	}
}

func TestNeitherSecretIsPassedOn(t *testing.T) {
	for _, repeated := range []string{newSecret, oldSecret} {
		upstream := newService(t)
		upstream.say(400, `{"error":{"message":"see `+repeated+`","type":"OAuthException","code":190}}`)
		o := optionsFor(t, upstream.url.String(), nil)
		o.Apps[0].Secret, o.Apps[0].Previous = NewSecret(newSecret), NewSecret(oldSecret)
		p := newProxy(t, o)
		if w := ask(p, get(target("IGAA-1"))); w.Code != 400 || !strings.Contains(w.Body.String(), "see [client secret]") {
			t.Errorf("got %d %s, want 400 with [client secret] instead of the secret", w.Code, w.Body)
		}
		upstream.say(200, `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5183944,"x":"`+repeated+`"}`)
		if w := ask(p, get(target("IGAA-2"))); w.Code != 502 {
			t.Errorf("a success that repeats a secret: got %d %s, want 502", w.Code, w.Body)
		}
	}
}

// If the app has no Key, cache entries survive a rotation as long as the previous secret is
// configured. If it has a Key, they always survive.
func TestCacheSurvivesUntilThePreviousSecretIsRemoved(t *testing.T) {
	idOf := func(a App) string {
		a.ID = "1"
		ready, err := newApp(a, grants(optionsFor(t, "https://graph.instagram.com", nil)), nil)
		if err != nil {
			t.Fatal(err)
		}
		return ready.keys["exchange"].Derive("IGAAshort").ID().String()
	}
	one, two, key := NewSecret(oldSecret), NewSecret(newSecret), NewSecret(strings.Repeat("k", 32))
	before, during, after := idOf(App{Secret: one}), idOf(App{Secret: two, Previous: one}), idOf(App{Secret: two})
	if before != during || during == after {
		t.Errorf("the entries survive the beginning of the rotation: %v, want true; they survive the removal of the previous secret: %v, want false", before == during, during == after)
	}
	all := []string{idOf(App{Secret: one, Key: key}), idOf(App{Secret: two, Previous: one, Key: key}), idOf(App{Secret: two, Key: key})}
	if got := slices.Compact(all); len(got) != 1 {
		t.Errorf("with a Key: got the different cache keys %v, want one", got)
	}
}

func TestATooShortPreviousSecretIsRefused(t *testing.T) {
	o := optionsFor(t, "https://graph.instagram.com", nil)
	o.Cache, o.Apps[0].Previous = newCache(t), NewSecret("short")
	if _, err := New(o); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("got %v, want an error without the secret", err)
	}
}
