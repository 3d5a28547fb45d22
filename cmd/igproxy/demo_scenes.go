package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// webhookPath is the path at which the sidecar checks the signatures of webhooks for the Instagram
// app.
const webhookPath = "/apps/default/_igproxy/webhook"

// story plays the scenes of the demo. Each scene does what an app would do, shows it, and checks
// the result.
type story struct {
	out       io.Writer
	instagram *mock.Instagram
	upstream  string // the URL of the stand-in
	sidecar   string // the URL of the sidecar
	admin     string // the URL of the sidecar's admin listener
	failed    bool   // whether a check has failed
}

// play plays the scenes. It returns false if it was interrupted.
func (d *story) play(interrupted <-chan struct{}) bool {
	fmt.Fprintf(d.out, "igproxy demo\nstand-in for Meta %s (answers after %s)\nsidecar %s for two apps: default (Instagram) and facebook\n",
		d.upstream, demoLatency, d.sidecar)
	const first, again = "igproxy; fwd=miss; stored", "igproxy; hit"
	for i, scene := range []struct {
		name string
		play func()
	}{
		{"A first exchange: the app sends no secret, igproxy adds it", func() {
			d.expectOneCall("IGAA-anna", http.StatusOK, first)
		}},
		{"The same token again: answered from memory", func() {
			d.expectOneCall("IGAA-anna", http.StatusOK, again)
		}},
		{fmt.Sprintf("%d callers at once with one new token: one call to Instagram", demoBurst), d.burst},
		{"An expired token: Instagram's own error, remembered too", func() {
			d.expectOneCall("expired-clara", http.StatusBadRequest, first)
			d.expectOneCall("expired-clara", http.StatusBadRequest, again)
		}},
		{"A whole login: from the code in the redirect to a profile, with no secret in the app", d.login},
		{"Facebook Login, in the same sidecar: igproxy adds the Facebook app's secret", func() {
			d.expect(extend("EAAG-emil"), nil, http.StatusOK, first)
			d.checkOneCall("EAAG-emil")
		}},
		{"Webhooks: igproxy checks that Meta signed them, again with no secret in the app", d.webhooks},
		{"A token still works after its 60 days, because igproxy has refreshed it", d.keep},
		{"Instagram fails: the breaker opens, known tokens are still served", d.outage},
		{"Instagram is back: one trial call closes the breaker", d.recovery},
	} {
		select {
		case <-interrupted:
			return false
		default:
		}
		fmt.Fprintf(d.out, "\n%d. %s\n", i+1, scene.name)
		scene.play()
	}
	if !d.failed {
		fmt.Fprint(d.out, "\nEvery scene went as expected.\n")
	}
	return true
}

func (d *story) burst() {
	const token = "IGAA-berta"
	responses := make([]response, demoBurst)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range responses {
		wg.Go(func() { responses[i] = d.call(exchange(token), nil) })
	}
	wg.Wait()
	took := time.Since(start)
	same := 0
	for _, r := range responses {
		if r.status == http.StatusOK && r.accessToken() == responses[0].accessToken() {
			same++
		}
	}
	d.check(same == demoBurst, "%d of %d callers got the same long-lived token, the last after %s",
		same, demoBurst, took.Round(time.Millisecond))
	d.checkOneCall(token)
}

// login does what an app does after the redirect. The app has its ID and the code, and no secret.
func (d *story) login() {
	code := d.instagram.Code(demoAppID, demoCallback)
	form := url.Values{"client_id": {demoAppID}, "grant_type": {"authorization_code"}, "redirect_uri": {demoCallback}, "code": {code}}
	first := d.expect("/oauth/access_token", form, http.StatusOK, "")
	again := d.call("/oauth/access_token", form)
	d.check(again.body == first.body, "a repeated callback gets the same response")
	d.check(d.instagram.CallsFor(code) == 1, "the code was sent to Instagram once")
	long := d.expect(exchange(first.accessToken()), nil, http.StatusOK, "igproxy; fwd=miss; stored")
	d.expect("/me?fields=user_id,username&access_token="+url.QueryEscape(long.accessToken()), nil, http.StatusOK, "")
}

// webhooks does what an app does with each webhook that reaches its public URL. The first webhook
// is signed with the app's secret, the second with another secret.
func (d *story) webhooks() {
	body := mock.Webhook()
	for _, c := range []struct {
		secret string
		status int
		means  string
	}{
		{demoSecret, http.StatusNoContent, "Meta signed it: the app processes it"},
		{"a-guess", http.StatusForbidden, "it is forged: the app refuses it"},
	} {
		header := mock.SignWebhook(c.secret, body)
		d.say("> POST %s  X-Hub-Signature-256: %s  %.45s...", webhookPath, shorten(header.Get("X-Hub-Signature-256")), body)
		r := d.deliver(header, body)
		d.show(r)
		d.check(r.status == c.status, "%s", c.means)
	}
}

// keep shows that a token works after its end. The app uses the token once within its 60 days, and
// never refreshes it.
func (d *story) keep() {
	const day = 24 * time.Hour
	long := d.expect(exchange("IGAA-frida"), nil, http.StatusOK, "igproxy; fwd=miss; stored").accessToken()
	profile := "/me?fields=username&access_token=" + url.QueryEscape(long)
	d.say("Day 30: the app uses the token")
	d.instagram.Age(30 * day)
	d.expect(profile, nil, http.StatusOK, "")
	d.check(d.isRefreshed(), "igproxy has refreshed the token in the background, and remembers the successor")
	d.say("Day 61: the token has ended; without igproxy, the user would have to log in again")
	d.instagram.Age(31 * day)
	direct := receive(func() (*http.Response, error) { return http.Get(d.upstream + profile) })
	d.say("> GET %s, directly at Meta", shorten(profile))
	d.show(direct)
	d.check(direct.status == http.StatusBadRequest, "Meta refuses the token")
	d.expect(profile, nil, http.StatusOK, "")
	d.check(d.instagram.RefreshesFor(long) == 1, "igproxy sent the call with the successor, although the app still sends its old token")
}

// isRefreshed waits for the first refresh in the background, and reports whether it succeeded
// within a few seconds.
func (d *story) isRefreshed() bool {
	for range 100 {
		metrics := receive(func() (*http.Response, error) { return http.Get(d.admin + "/metrics") })
		if strings.Contains(metrics.body, `igproxy_keep_refreshes_total{app="default",outcome="refreshed"} 1`) {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

func (d *story) outage() {
	d.instagram.SetFault("down")
	before := d.instagram.Calls()
	var path string
	var last response
	for i := 0; i < 20 && last.status != http.StatusServiceUnavailable; i++ {
		path = exchange(fmt.Sprintf("IGAA-cold-%d", i))
		last = d.call(path, nil)
	}
	d.say("several new tokens fail (not shown); then the breaker opens and refuses the next call:")
	d.say("> GET %s", path)
	d.show(last)
	d.check(last.status == http.StatusServiceUnavailable && last.retryAfter != "",
		"the breaker opened after %d failed calls to Meta, retries included; while it is open, unknown tokens get a quick 503 with Retry-After", d.instagram.Calls()-before)
	d.expect(exchange("IGAA-anna"), nil, http.StatusOK, "igproxy; hit")
}

func (d *story) recovery() {
	d.instagram.SetFault("")
	d.say("waiting %s, which is how long the breaker stays open", demoOpen)
	time.Sleep(demoOpen + 50*time.Millisecond)
	d.expect(exchange("IGAA-dora"), nil, http.StatusOK, "igproxy; fwd=miss; stored")
}

// exchange returns the path and query of a request that exchanges a token.
func exchange(token string) string {
	return "/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(token)
}

// extend returns the path and query of Facebook's exchange of a token.
func extend(token string) string {
	return "/v23.0/oauth/access_token?grant_type=fb_exchange_token&client_id=" + demoFacebookID + "&fb_exchange_token=" + url.QueryEscape(token)
}

// response is an HTTP response. If no response arrived, status is 0 and body is the error.
type response struct {
	status      int
	cacheStatus string
	retryAfter  string
	body        string
	took        time.Duration
}

func (r response) accessToken() string {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal([]byte(r.body), &t)
	return t.AccessToken
}

// call sends a request to the sidecar as an app does. If form is not nil, it posts the form.
func (d *story) call(path string, form url.Values) response {
	if form != nil {
		return receive(func() (*http.Response, error) { return http.PostForm(d.sidecar+path, form) })
	}
	return receive(func() (*http.Response, error) { return http.Get(d.sidecar + path) })
}

// deliver passes a webhook on to the sidecar, with the header and the body that the app received.
func (d *story) deliver(header http.Header, body []byte) response {
	return receive(func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, d.sidecar+webhookPath, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		r.Header = header
		return http.DefaultClient.Do(r)
	})
}

// receive sends a request and reads the response.
func receive(send func() (*http.Response, error)) response {
	start := time.Now()
	res, err := send()
	if err != nil {
		return response{body: err.Error()}
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return response{res.StatusCode, res.Header.Get("Cache-Status"), res.Header.Get("Retry-After"), string(body), time.Since(start)}
}

// expect sends a request, shows it with its response, and checks the status and the beginning of
// the Cache-Status.
func (d *story) expect(path string, form url.Values, status int, cacheStatus string) response {
	request := "GET " + path
	if form != nil {
		request = "POST " + path + "  " + form.Encode()
	}
	d.say("> %s", shorten(request))
	r := d.call(path, form)
	d.show(r)
	if r.status != status || !strings.HasPrefix(r.cacheStatus, cacheStatus) {
		d.check(false, "want status %d, and a Cache-Status that begins with %q", status, cacheStatus)
	}
	return r
}

// expectOneCall calls expect with an exchange of the token, and checks that Meta has been called
// exactly once for that token.
func (d *story) expectOneCall(token string, status int, cacheStatus string) {
	d.expect(exchange(token), nil, status, cacheStatus)
	d.checkOneCall(token)
}

func (d *story) checkOneCall(token string) {
	d.check(d.instagram.CallsFor(token) == 1, "calls to Meta for this token so far: %d", d.instagram.CallsFor(token))
}

// check prints a statement. If ok is false, it marks the statement as not true, and the demo fails.
func (d *story) check(ok bool, format string, args ...any) {
	mark := "✓ "
	if !ok {
		d.failed, mark = true, "✗ not as expected: "
	}
	d.say(mark+format, args...)
}

func (d *story) show(r response) {
	headers := ""
	if r.cacheStatus != "" {
		headers += "  Cache-Status: " + r.cacheStatus
	}
	if r.retryAfter != "" {
		headers += "  Retry-After: " + r.retryAfter
	}
	d.say("< %d in %s%s", r.status, r.took.Round(10*time.Microsecond), headers)
	if r.body != "" {
		d.say("< %s", shorten(r.body))
	}
}

func (d *story) say(format string, args ...any) { fmt.Fprintf(d.out, "   "+format+"\n", args...) }

// longToken matches signatures, and tokens of realistic length, which would fill the screen.
var longToken = regexp.MustCompile(`[A-Za-z0-9_-]{60,}`)

func shorten(text string) string {
	return longToken.ReplaceAllStringFunc(text, func(t string) string { return t[:12] + "..." + t[len(t)-4:] })
}

// showHints prints what to try while the demo keeps running.
func (d *story) showHints() {
	fmt.Fprintf(d.out, "\nStill running; Ctrl-C ends it. The status page of this sidecar, with what just happened:\n   %s/\n\nTry:\n", d.admin)
	d.say("curl -i '%s/access_token?grant_type=ig_exchange_token&access_token=IGAA-yours'", d.sidecar)
	d.say("curl -i '%s/access_token?grant_type=ig_exchange_token&access_token=expired-1'", d.sidecar)
	d.say("curl -i '%s%s'", d.sidecar, extend("EAAG-yours"))
	d.say("curl -X POST '%s/__webhook?to=%s%s'      # a signed webhook; 204: it is genuine", d.upstream, d.sidecar, webhookPath)
	d.say("curl -X POST '%s/__fault?mode=down'      # Instagram fails; an empty mode ends the fault", d.upstream)
	d.say("curl '%s/__stats'                        # the calls to Meta", d.upstream)
	d.say("curl '%s/readyz'", d.admin)
	d.say("curl -s '%s/metrics' | grep ^igproxy", d.admin)
}
