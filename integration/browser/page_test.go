package browser

// An operator on call opens the admin listener's page. It shows requests as they arrive, and says
// when Redis fails, when the breaker is open, and when the sidecar no longer answers. It fits a
// phone and needs no mouse.

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
)

var (
	updatePictures = flag.Bool("update", false, "rewrite docs/status-light.png and docs/status-dark.png")
	pictureOf      = flag.Duration("of", 20*time.Second, "how long traffic runs before the pictures are taken")
)

// flow sends requests until end is called: most for known tokens, some for new ones, and a few that
// are refused.
func flow(p *harness.Process) (end func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			token := fmt.Sprintf("IGAA-known-%d", i%7)
			switch {
			case i%9 == 8, i%40 == 39:
				token = fmt.Sprintf("IGAA-new-%d", i)
			case i%31 == 30:
				token = fmt.Sprintf("expired-%d", i)
			}
			callers, path := 1, harness.ExchangePath(token)
			switch {
			case i%40 == 39:
				callers = 4 // concurrent callers of each new token
			case i%23 == 22:
				path = "/me?access_token=" + token
			}
			harness.Crowd(callers, func(int) {
				_, _, _ = harness.Get(context.Background(), p.URL+path) // the page shows the result
			})
			select {
			case <-stop:
				return
			case <-time.After(time.Duration(20+15*(i/150%4)) * time.Millisecond):
			}
		}
	}()
	return sync.OnceFunc(func() { close(stop); <-done })
}

func TestPageShowsTrafficAndFailures(t *testing.T) {
	instagram, upstream := harness.Mock(t, "--secret", harness.AppSecret)
	redis := redistest.Start(t)
	p := harness.Serve(t, "UPSTREAM_URL="+upstream, "UPSTREAM_RETRIES=0", "REDIS_MODE=single", "REDIS_URL="+redis.URL(), "BREAKER_FAILURES=3", "BREAKER_OPEN=5s", "LOG_LEVEL=info")
	c := openChromium(t)
	c.width(1280)
	c.scheme("light")
	c.open(p.Admin + "/")
	c.shows("that it is connected", text("link")+` === "live"`)
	end := flow(p)
	defer end()
	c.shows("requests as they arrive", `+`+text("rate")+` > 0 && document.querySelector("#chart path").getAttribute("d") !== ""`)
	c.shows("hits", `parseFloat(`+text("ratio")+`) > 50 && `+text("hit")+` !== "–" && `+text("exchange")+` !== "–" && parseInt(`+text("saved")+`) > 3`)
	c.shows("that there are no problems", text("concerns")+` === "No problems." && `+text("redis-state")+` === "in use" && `+text("ready")+` === "ready"`)
	c.shows("the configuration, and no secret", `document.getElementById("configuration").textContent.includes("cache.ttl") && !document.documentElement.outerHTML.includes(`+fmt.Sprintf("%q", harness.AppSecret)+`)`)
	if *updatePictures {
		takePictures(t, c, upstream, redis)
	}
	fitsAPhoneAndNeedsNoMouse(t, c)

	redis.Kill()
	c.shows("that Redis failed", text("concerns")+`.includes("Redis has been unavailable since") && `+text("redis-state")+`.startsWith("unavailable") && `+text("redis-errors")+` !== "none"`)
	_ = instagram.Cmd.Process.Kill()
	c.shows("the open breaker", text("concerns")+`.includes("The instagram breaker has been open since") && document.querySelector("[data-upstream=instagram]").innerText.includes("breaker open")`)
	c.shows("when it opened", `/breaker open, since \d\d:\d\d:\d\d/.test(document.querySelector("[data-upstream=instagram]").textContent)`)
	c.shows("that it is still ready", text("ready")+` === "ready"`)
	c.quiet()

	end()
	if code := p.Stop(t); code != 0 { // the polling page does not delay it
		t.Errorf("exit code %d", code)
	}
	c.shows("that the connection is lost", text("link")+` === "connection lost"`)
}

// fitsAPhoneAndNeedsNoMouse checks that the page is no wider than the screen of a phone, a tablet
// or a computer, and moves through it with the Tab key.
func fitsAPhoneAndNeedsNoMouse(t *testing.T, c *chromium) {
	t.Helper()
	for _, w := range []int{360, 768, 1280} {
		c.width(w)
		c.eval(`for (const d of document.querySelectorAll("details")) d.open = true`)
		if got := c.eval("document.documentElement.scrollWidth"); got != fmt.Sprint(w) {
			t.Errorf("at %d pixels the page is %s wide", w, got)
		}
	}
	controls := c.eval(`document.querySelectorAll("a, input, summary, [tabindex='0']").length`)
	c.eval(`window.reached = new Set(); window.unseen = []; document.addEventListener("focusin", e => {
		reached.add(e.target);
		if (getComputedStyle(e.target).outlineStyle === "none") unseen.push(e.target.outerHTML);
	}); document.activeElement.blur()`)
	for range 20 {
		c.tab()
	}
	if got := c.eval(`[...document.querySelectorAll("a, input, summary, [tabindex='0']")].filter(e => reached.has(e)).length`); got != controls {
		t.Errorf("Tab reaches %s of %s controls", got, controls)
	}
	if got := c.eval(`unseen.join("\n")`); got != "" {
		t.Errorf("the focus is not visible on %s", got)
	}
	for what, expression := range map[string]string{
		"one main and one h1":         `document.querySelectorAll("main").length === 1 && document.querySelectorAll("h1").length === 1`,
		"a name for each section":     `[...document.querySelectorAll("section")].every(s => document.getElementById(s.getAttribute("aria-labelledby")).textContent)`,
		"the chart in words":          `/\d+ token/.test(document.getElementById("chart").getAttribute("aria-label"))`,
		"the chart as a table":        `document.querySelectorAll("#minutes tr").length > 0 && document.querySelectorAll("#minutes-head th[scope=col]").length === 10`,
		"the chart's moment in words": `/token|no requests/.test(document.getElementById("moment").getAttribute("aria-valuetext"))`,
		"changes in live regions":     `document.getElementById("concerns").getAttribute("aria-live") === "polite" && document.getElementById("link").getAttribute("aria-live") === "polite"`,
		"no unwanted animation":       `getComputedStyle(document.getElementById("link"), "::before").animationName === "none"`,
	} {
		c.shows(what, expression)
	}
}

// takePictures takes the screenshots for the documentation. They show traffic, and past outages of
// Instagram and of Redis.
func takePictures(t *testing.T, c *chromium, upstream string, redis *redistest.Server) {
	t.Helper()
	fault := func(mode string) {
		r, err := http.Post(upstream+"/__fault?mode="+mode, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
	}
	if r, err := http.Post(upstream+"/__latency?d=90ms", "", nil); err == nil {
		_ = r.Body.Close()
	}
	sleep := func(part float64) { time.Sleep(time.Duration(float64(*pictureOf) * part)) }
	sleep(.4)
	fault("down")
	sleep(.06)
	fault("")
	sleep(.2)
	redis.Kill()
	sleep(.05)
	redis.Restart()
	sleep(.29)
	c.shows("that there are no problems left", text("concerns")+` === "No problems."`)
	for _, scheme := range []string{"light", "dark"} {
		c.scheme(scheme)
		png := c.picture()
		if len(png) > 200<<10 || !bytes.HasPrefix(png, []byte("\x89PNG")) {
			t.Errorf("the %s picture has %d bytes", scheme, len(png))
		}
		if err := os.WriteFile("../../docs/status-"+scheme+".png", png, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c.scheme("light")
}
