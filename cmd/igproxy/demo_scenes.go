package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// story is the demo's story: each scene does what an app would do and checks that it went as told.
type story struct {
	printer     *printer
	instagram   *mock.Instagram
	upstream    string
	sidecar     string
	admin       string
	interrupted bool
}

// run plays all scenes and returns how many did not go as told.
func (d *story) run(signals <-chan os.Signal) (failed int) {
	d.printer.title("igproxy demo", fmt.Sprintf("stand-in Instagram %s (answers after %s)  ·  sidecar %s", d.upstream, demoLatency, d.sidecar))
	for i, scene := range []struct {
		name string
		play func() error
	}{
		{"A first exchange: the app sends no secret, igproxy adds it", d.firstExchange},
		{"The same token again: answered from memory", d.hit},
		{fmt.Sprintf("%d callers at once with one new token: one call to Instagram", demoBurst), d.burst},
		{"An expired token: Instagram's own error, remembered too", d.expired},
		{"A whole login: from the code of the redirect to a profile, with no secret in the app", d.login},
		{"Instagram fails: the breaker opens, known tokens are still served", d.outage},
		{"Instagram is back: one probe closes the breaker", d.recovery},
	} {
		select {
		case <-signals:
			d.interrupted = true
			return failed
		default:
		}
		d.printer.scene(i+1, scene.name)
		if err := scene.play(); err != nil {
			failed++
			d.printer.fail(err.Error())
		}
	}
	return failed
}

// reply is what an app got.
type reply struct {
	status      int
	cacheStatus string
	retryAfter  string
	body        string
	took        time.Duration
}

// exchange is the app: one GET, no secret.
func (d *story) exchange(token string) (reply, error) {
	return receive(func() (*http.Response, error) {
		return http.Get(d.sidecar + "/access_token?grant_type=ig_exchange_token&access_token=" + url.QueryEscape(token))
	})
}

// receive takes what a call brought.
func receive(call func() (*http.Response, error)) (reply, error) {
	start := time.Now()
	res, err := call()
	if err != nil {
		return reply{}, fmt.Errorf("the sidecar did not answer: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	return reply{res.StatusCode, res.Header.Get("Cache-Status"), res.Header.Get("Retry-After"), string(body), time.Since(start)}, err
}

// expect asks once, shows the answer, and compares it with what the scene promises.
func (d *story) expect(token string, status int, cacheStatus string) (reply, error) {
	r, err := d.exchange(token)
	if err != nil {
		return r, err
	}
	d.printer.request(token)
	d.printer.reply(r)
	if r.status != status || !strings.HasPrefix(r.cacheStatus, cacheStatus) {
		return r, fmt.Errorf("expected %d with %q", status, cacheStatus)
	}
	return r, nil
}

func (d *story) firstExchange() error {
	if _, err := d.expect("IGAA-anna", http.StatusOK, "igproxy; fwd=miss; stored"); err != nil {
		return err
	}
	return d.calls("IGAA-anna", 1)
}

func (d *story) hit() error {
	if _, err := d.expect("IGAA-anna", http.StatusOK, "igproxy; hit"); err != nil {
		return err
	}
	return d.calls("IGAA-anna", 1)
}

func (d *story) burst() error {
	const token = "IGAA-berta"
	replies, errs := make([]reply, demoBurst), make([]error, demoBurst)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range demoBurst {
		wg.Go(func() { replies[i], errs[i] = d.exchange(token) })
	}
	wg.Wait()
	took := time.Since(start)
	same := 0
	for i, r := range replies {
		if errs[i] == nil && r.status == http.StatusOK && accessToken(r) == accessToken(replies[0]) {
			same++
		}
	}
	d.printer.request(token)
	d.printer.say("%d of %d callers got the same long-lived token, the last after %s", same, demoBurst, round(took))
	if same != demoBurst {
		return fmt.Errorf("expected all %d to get it", demoBurst)
	}
	return d.calls(token, 1)
}

func (d *story) expired() error {
	if _, err := d.expect("expired-clara", http.StatusBadRequest, "igproxy; fwd=miss; stored"); err != nil {
		return err
	}
	if _, err := d.expect("expired-clara", http.StatusBadRequest, "igproxy; hit"); err != nil {
		return err
	}
	return d.calls("expired-clara", 1)
}

// login is what an app does after the redirect: it knows its id and the code, and no secret.
func (d *story) login() error {
	code := d.instagram.Code(demoAppID, demoCallback)
	form := url.Values{"client_id": {demoAppID}, "grant_type": {"authorization_code"}, "redirect_uri": {demoCallback}, "code": {code}}
	post := func() (reply, error) {
		return receive(func() (*http.Response, error) { return http.PostForm(d.sidecar+"/oauth/access_token", form) })
	}
	d.printer.say("%s POST /oauth/access_token  client_id=%s&grant_type=authorization_code&redirect_uri=%s&code=%s", d.printer.paint(dim, ">"), demoAppID, demoCallback, code[:12]+"...")
	first, err := post()
	if err != nil {
		return err
	}
	d.printer.reply(first)
	again, err := post()
	if err != nil {
		return err
	}
	if first.status != http.StatusOK || again.body != first.body {
		return fmt.Errorf("expected the code's token, and the same for a double callback")
	}
	if n := d.instagram.CallsFor(code); n != 1 {
		return fmt.Errorf("expected the code to be sent once, and it was sent %s", times(n))
	}
	d.printer.pass("a double callback gets the same answer: Instagram was asked once for this code")
	short := accessToken(first)
	long, err := d.expect(short, http.StatusOK, "igproxy; fwd=miss; stored")
	if err != nil {
		return err
	}
	me, err := receive(func() (*http.Response, error) {
		return http.Get(d.sidecar + "/me?fields=user_id,username&access_token=" + url.QueryEscape(accessToken(long)))
	})
	if err != nil {
		return err
	}
	d.printer.say("%s GET /me?fields=user_id,username&access_token=%s", d.printer.paint(dim, ">"), shorten(accessToken(long)))
	d.printer.reply(me)
	if me.status != http.StatusOK {
		return fmt.Errorf("expected the profile, passed through")
	}
	d.printer.pass("code, short-lived token, long-lived token, profile: the app never had the secret")
	return nil
}

func (d *story) outage() error {
	d.instagram.SetFault("down")
	before := d.instagram.Calls()
	var last reply
	for i := range 20 {
		r, err := d.exchange(fmt.Sprintf("IGAA-cold-%d", i))
		if err != nil {
			return err
		}
		if last = r; r.status == http.StatusServiceUnavailable {
			break
		}
	}
	d.printer.request("IGAA-cold-...")
	d.printer.reply(last)
	d.printer.say("the breaker opened after %d failed calls; from now on cold tokens get a quick 503", d.instagram.Calls()-before)
	if last.status != http.StatusServiceUnavailable || last.retryAfter == "" {
		return fmt.Errorf("expected a 503 with Retry-After within 20 requests")
	}
	if _, err := d.expect("IGAA-anna", http.StatusOK, "igproxy; hit"); err != nil {
		return err
	}
	d.printer.pass("cold tokens are told when to come back, known ones are served")
	return nil
}

func (d *story) recovery() error {
	d.instagram.SetFault("")
	d.printer.say("waiting %s, the breaker's open time", demoOpen)
	time.Sleep(demoOpen + 50*time.Millisecond)
	if _, err := d.expect("IGAA-dora", http.StatusOK, "igproxy; fwd=miss; stored"); err != nil {
		return err
	}
	d.printer.pass("the breaker is closed")
	return nil
}

// calls checks with the stand-in how often it was asked for a token.
func (d *story) calls(token string, want int) error {
	got := d.instagram.CallsFor(token)
	if got != want {
		return fmt.Errorf("expected Instagram to be asked %s for this token, and it was asked %s", times(want), times(got))
	}
	d.printer.pass(fmt.Sprintf("Instagram was asked %s for this token", times(got)))
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func accessToken(r reply) string {
	var t struct {
		AccessToken string `json:"access_token"`
	}
	_ = json.Unmarshal([]byte(r.body), &t)
	return t.AccessToken
}

// showHints tells what to try while the demo stays up.
func (d *story) showHints() {
	d.printer.title("Still running. Try:", "")
	for _, line := range []string{
		fmt.Sprintf("curl -i '%s/access_token?grant_type=ig_exchange_token&access_token=IGAA-yours'", d.sidecar),
		fmt.Sprintf("curl -i '%s/access_token?grant_type=ig_exchange_token&access_token=expired-1'", d.sidecar),
		fmt.Sprintf("curl -X POST '%s/__fault?mode=down'      # Instagram fails; mode= ends it", d.upstream),
		fmt.Sprintf("curl '%s/__stats'                        # what Instagram was asked", d.upstream),
		fmt.Sprintf("curl '%s/readyz'", d.admin),
		fmt.Sprintf("curl -s '%s/metrics' | grep ^igproxy", d.admin),
	} {
		d.printer.say("%s", line)
	}
	d.printer.say("")
	d.printer.say("Ctrl-C ends it.")
}
