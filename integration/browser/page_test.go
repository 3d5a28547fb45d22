package browser

// An operator on call opens the admin listener's page. It shows requests as they arrive, and says
// when Redis fails, when the breaker is open, and when the sidecar no longer answers. Without
// scripts it shows the state at the time of loading. It fits the screen of a phone and needs no
// mouse.

import (
	"bytes"
	"cmp"
	"context"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/integration/harness"
)

var (
	updatePictures = flag.Bool("update", false, "rewrite the screenshots of the page in docs")
	pictureOf      = flag.Duration("of", 20*time.Second, "how long traffic runs before the screenshots are taken")
)

// flow sends requests until end is called: most with known tokens, some with new tokens, and a few
// with expired ones. Most requests are exchanges, and a few read /me.
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
				callers = 4 // concurrent callers for some of the new tokens
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
	_, upstream := harness.Mock(t, "--secret", harness.AppSecret)
	redis := redistest.Start(t)
	p := harness.Serve(t, "UPSTREAM_URL="+upstream, "UPSTREAM_RETRIES=0", "REDIS_MODE=single", "REDIS_URL="+redis.URL(), "BREAKER_FAILURES=3", "BREAKER_OPEN=1s", "LOG_LEVEL=info")
	c := openChromium(t)
	c.width(1280)
	c.scheme("light")
	c.open(p.Admin + "/")
	c.shows("that it is connected", text("link")+` === "live"`)
	end := flow(p)
	defer end()
	c.shows("requests as they arrive", `document.querySelector("path.served").getAttribute("d") !== ""`)
	c.shows("rate, hit ratio and times", `[...document.querySelectorAll("#tiles b")].slice(0, 4).every(b => /\d/.test(b.textContent))`)
	c.shows("that there are no problems", text("concerns")+`.trim() === "No problems." && `+text("redis")+`.includes("in use") && `+text("ready")+` === "ready"`)
	c.shows("which sidecar it belongs to", `document.title.startsWith("igproxy on " + `+text("host")+` + ": ") && `+text("host")+` !== ""`)
	c.shows("the settings without the secret", `document.getElementById("configuration").textContent.includes("cache.ttl") && !document.documentElement.outerHTML.includes(`+fmt.Sprintf("%q", harness.AppSecret)+`)`)
	if *updatePictures {
		takePictures(t, c, upstream, redis)
		return
	}
	fitsAPhoneAndNeedsNoMouse(t, c)
	findsSettings(c)
	c.eval(`document.getElementById("group-failed").open = true`)
	columns := c.eval(columnsAt)

	redis.Kill()
	c.shows("that Redis failed", text("concerns")+`.includes("Redis has not been used since") && `+text("redis")+`.includes("not used") && `+text("redis-faults")+`.includes("connection refused")`)
	setFault(t, upstream, "down")
	c.shows("the open breaker", text("concerns")+`.includes("A breaker for Instagram opened at") && /open: exchange/.test(`+text("apps")+`)`)
	c.shows("a failure with its cause, code and request id", `[...document.querySelectorAll("#failures tbody tr")].some(r => /unavailable, 503.*2 \/ 990020.*breaker open.*[0-9a-f]{16}/s.test(r.innerText))`)
	c.shows("several failed trial calls (probes) as one outage", `[...document.querySelectorAll("#outages tbody tr")].filter(r => /^Instagram/.test(r.innerText)).length === 1 && +document.querySelector("#outages tbody tr td:nth-child(5)").innerText > 2`)
	c.shows("a link to the runbook", `document.querySelector("[data-alert=IgproxyBreakerOpen] a").href.endsWith("/docs/operations.md#igproxybreakeropen")`)
	c.shows("that the sidecar is still ready", text("ready")+` === "ready"`)
	c.shows("that the opened group is still open", `document.getElementById("group-failed").open`)
	if got := c.eval(columnsAt); got != columns {
		t.Errorf("positions of columns, tiles and groups: got %s, want %s, as before Redis and Instagram failed", got, columns)
	}
	setFault(t, upstream, "")
	c.shows("the end of the outage", `[...document.querySelectorAll("#outages tbody tr")].some(r => /^Instagram/.test(r.innerText) && !/continues/.test(r.innerText))`)
	c.quiet()

	end()
	// The open page reads the state every two seconds. That must not delay the stop.
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	c.shows("that the connection is lost", text("link")+` === "connection lost" && document.title.startsWith("(no connection)")`)
}

// columnsAt is a JavaScript expression for the horizontal positions of all table columns, tiles and
// groups.
const columnsAt = `[...document.querySelectorAll("thead th, #tiles > div, #groups > details")].map(e => Math.round(e.getBoundingClientRect().left)).join()`

func setFault(t *testing.T, upstream, mode string) {
	t.Helper()
	r, err := http.Post(upstream+"/__fault?mode="+mode, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
}

func TestPageShowsTheCurrentStateWithoutScripts(t *testing.T) {
	_, upstream := harness.Mock(t, "--secret", harness.AppSecret)
	p := harness.Serve(t, "UPSTREAM_URL="+upstream)
	if status, _, err := harness.Get(t.Context(), p.URL+harness.ExchangePath("expired-1")); err != nil || status != 400 {
		t.Fatalf("an expired token: status: got %d, want 400; error: got %v, want nil", status, err)
	}
	c := openChromium(t)
	c.width(1280)
	c.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil)
	c.open(p.Admin + "/")
	c.shows("the current state", `document.readyState === "complete" && /\d\d:\d\d:\d\d [A-Z]+/.test(`+text("clock")+`) && /refused, 400.*190 \/ 463.*[0-9a-f]{16}/s.test(`+text("failures")+`)`)
	c.shows("that its content is not refreshed", text("link")+` === "page not refreshed" && getComputedStyle(document.querySelector(".noscript")).display === "block"`)
	c.shows("only elements that work without scripts", `[...document.querySelectorAll("input")].every(e => e.offsetParent === null)`)
	c.quiet()
}

// findsSettings checks that the page shows only the settings that match the words in its filter.
func findsSettings(c *chromium) {
	c.t.Helper()
	filter := func(words string) {
		c.eval(fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event("input")) })(document.getElementById("filter"))`, words))
	}
	const seen = `[...document.querySelectorAll("#configuration tbody tr")].filter(r => r.offsetParent).map(r => r.cells[0].textContent)`
	filter("REDIS url")
	c.shows("the settings that match", seen+`.join() === "redis.url"`)
	filter("")
	c.shows("all settings", seen+`.length > 40`)
}

// fitsAPhoneAndNeedsNoMouse checks that the page is no wider than the screen of a phone, a tablet
// or a computer, that the Tab key reaches every control, that the focus is visible, and that screen
// readers can read the page.
func fitsAPhoneAndNeedsNoMouse(t *testing.T, c *chromium) {
	t.Helper()
	for _, w := range []int{360, 390, 768, 1280} {
		c.width(w)
		c.eval(`for (const d of document.querySelectorAll("details")) d.open = true`)
		if got := c.eval("document.documentElement.scrollWidth"); got != fmt.Sprint(w) {
			t.Errorf("width of the page in pixels: got %s, want %d, the width of the window", got, w)
		}
	}
	controls := c.eval(`document.querySelectorAll("a, input, summary, [tabindex='0']").length`)
	c.eval(`window.reached = new Set(); window.unseen = []; document.addEventListener("focusin", e => {
		reached.add(e.target);
		if (getComputedStyle(e.target).outlineStyle === "none") unseen.push(e.target.outerHTML);
	}); document.activeElement.blur()`)
	for range 30 {
		c.tab()
	}
	if got := c.eval(`[...document.querySelectorAll("a, input, summary, [tabindex='0']")].filter(e => reached.has(e)).length`); got != controls {
		t.Errorf("controls that Tab reaches: got %s, want %s", got, controls)
	}
	if got := c.eval(`unseen.join("\n")`); got != "" {
		t.Errorf("controls on which the focus is not visible: got %s, want none", got)
	}
	for what, expression := range map[string]string{
		"one main element and one h1":  `document.querySelectorAll("main").length === 1 && document.querySelectorAll("h1").length === 1`,
		"a name for each section":      `[...document.querySelectorAll("section")].every(s => document.getElementById(s.getAttribute("aria-labelledby")).textContent)`,
		"the charts as a table":        `document.querySelectorAll("#minutes tbody tr").length > 0 && document.querySelectorAll("#minutes th[scope=col]").length === 5`,
		"the selected moment in words": `/\d\d:\d\d:\d\d to \d\d:\d\d:\d\d: \d+ served/.test(document.getElementById("moment").getAttribute("aria-valuetext"))`,
		"changes in live regions":      `document.getElementById("concerns").getAttribute("aria-live") === "polite" && document.getElementById("link").getAttribute("aria-live") === "polite"`,
	} {
		c.shows(what, expression)
	}
}

// takePictures takes the screenshots for the documentation. They show traffic, a past outage of
// Instagram and a past outage of Redis. takePictures causes both outages.
func takePictures(t *testing.T, c *chromium, upstream string, redis *redistest.Server) {
	t.Helper()
	if r, err := http.Post(upstream+"/__latency?d=90ms", "", nil); err == nil {
		_ = r.Body.Close()
	}
	sleep := func(part float64) { time.Sleep(time.Duration(float64(*pictureOf) * part)) }
	sleep(.4)
	setFault(t, upstream, "down")
	sleep(.06)
	setFault(t, upstream, "")
	sleep(.2)
	redis.Kill()
	sleep(.05)
	redis.Restart()
	sleep(.29)
	for _, scheme := range []string{"light", "dark"} {
		for name, width := range map[string]int{"status": 1280, "status-phone": 390} {
			c.scheme(scheme)
			c.width(width)
			picture := withFewColours(t, c.picture(), width*4) // at most four times as high as wide
			if len(picture) > 200<<10 {
				t.Errorf("%s-%s.png: got %d bytes, want at most %d", name, scheme, len(picture), 200<<10)
			}
			if err := os.WriteFile("../../docs/"+name+"-"+scheme+".png", picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.scheme("light")
	c.width(1280)
}

// withFewColours returns the upper part of a PNG, up to height pixels, reduced to its 256 most
// frequent colours. With few colours, the file is about a third as large.
func withFewColours(t *testing.T, picture []byte, height int) []byte {
	t.Helper()
	full, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	counts, size := map[color.Color]int{}, image.Rect(0, 0, full.Bounds().Dx(), min(height, full.Bounds().Dy()))
	for y := range size.Dy() {
		for x := range size.Dx() {
			counts[full.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(counts), func(a, b color.Color) int { return cmp.Compare(counts[b], counts[a]) })
	few := image.NewPaletted(size, colours[:min(256, len(colours))])
	draw.Draw(few, size, full, image.Point{}, draw.Src)
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, few); err != nil {
		t.Fatal(err)
	}
	return small.Bytes()
}
