package proxy

import (
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// limited makes the upstream answer one call with code 4, which pauses the app that the path names.
func limited(t *testing.T, p *Proxy, upstream *service, path string) {
	t.Helper()
	upstream.say(400, `{"error":{"message":"Application request limit reached","type":"OAuthException","code":4}}`)
	if w := ask(p, get(path+target("LIMITED"))); w.Code != 400 {
		t.Fatalf("got %d %s, want Meta's 400", w.Code, w.Body)
	}
	upstream.say(200, `{"access_token":"IGAAlong","token_type":"bearer","expires_in":60000}`)
}

func TestResumeEndsThePauseOfOneAppOrOfAll(t *testing.T) {
	p, upstream := newShops(t)
	paused := func() (apps []string) {
		for _, one := range p.Pauses() {
			if left := time.Until(one.Until); left <= 0 || left > graph.DefaultPause || time.Since(one.Since) > time.Minute || one.Code != 4 {
				t.Errorf("got %+v, want a pause of a minute because of code 4", one)
			}
			apps = append(apps, one.App)
		}
		return apps
	}
	limited(t, p, upstream, "/apps/shop")
	limited(t, p, upstream, "/apps/club")
	if got := paused(); !slices.Equal(got, []string{"shop", "club"}) {
		t.Fatalf("paused: %v, want shop and club", got)
	}
	if ended, err := p.Resume("unknown"); err == nil || len(ended) > 0 || len(paused()) != 2 {
		t.Errorf("an unknown app: ended %+v, error %v; want an error, and both pauses kept", ended, err)
	}
	if ended, err := p.Resume("shop"); err != nil || len(ended) != 1 || ended[0].App != "shop" || !slices.Equal(paused(), []string{"club"}) {
		t.Errorf("one app: ended %+v, error %v, still paused %v; want only the pause of shop to end", ended, err, paused())
	}
	if w := ask(p, get("/apps/shop"+target("COLD"))); w.Code != 200 {
		t.Errorf("the resumed app got %d, want 200", w.Code)
	}
	if w := ask(p, get("/apps/club"+target("COLD"))); w.Code != 429 {
		t.Errorf("the other app got %d, want 429", w.Code)
	}
	limited(t, p, upstream, "/apps/shop") // Meta still limits the app
	if ended, err := p.Resume(""); err != nil || len(ended) != 2 || len(paused()) != 0 {
		t.Errorf("all apps: ended %+v, error %v, still paused %v; want both pauses to end", ended, err, paused())
	}
	if ended, err := p.Resume(""); err != nil || len(ended) != 0 {
		t.Errorf("no pauses: ended %+v, error %v; want no pauses and no error", ended, err)
	}
}

func TestResumeForgetsTheReportedLimit(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	p := newProxy(t, optionsFor(t, s.URL, s.CA()))
	_ = ask(p, get(target("limit4-1")))
	if got := p.RateLimits(); len(got) != 1 || got[0].Regain != 5 || len(p.Pauses()) != 1 {
		t.Fatalf("got the rate limits %+v, want one with Regain 5, as the stand-in says; got the pauses %+v, want one", got, p.Pauses())
	}
	if _, err := p.Resume("default"); err != nil || len(p.RateLimits()) != 0 {
		t.Errorf("got %v, want no error; still reported: %+v, want no rate limits", err, p.RateLimits())
	}
	if w := ask(p, get(target("IGAAcold"))); w.Code != 200 || i.CallsFor("IGAAcold") != 1 {
		t.Errorf("got %d after %d calls, want 200 after 1", w.Code, i.CallsFor("IGAAcold"))
	}
}

func TestTheLogSaysUntilWhenAndWhyAnAppIsPaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		g := newGuarded(t, 10, nil)
		g.log = slog.New(slog.NewTextHandler(&log, nil))
		c := callFor(t, "short")
		for n, step := range []struct {
			after, pause time.Duration // the wait before the step; the time until Meta's RetryAt
			lines        int           // how many lines "app paused" the log has after the step
		}{{0, 5 * time.Minute, 1}, {time.Second / 2, 5 * time.Minute, 1}, {time.Second, time.Minute, 1}, {time.Second, 10 * time.Minute, 2}, {11 * time.Minute, time.Minute, 3}} {
			time.Sleep(step.after)
			a := refusalAnswer(4, 0, "Application request limit reached")
			a.refusal.RetryAt = time.Now().Add(step.pause)
			g.note(c, a)
			if got := strings.Count(log.String(), "app paused"); got != step.lines {
				t.Errorf("after step %d: %d lines \"app paused\", want %d", n, got, step.lines)
			}
		}
		last := log.String()[strings.LastIndex(log.String(), "app paused"):]
		if want := "until=" + time.Now().Add(time.Minute).Format("2006-01-02T15:04:05"); !strings.Contains(last, want) ||
			!strings.Contains(last, "class=app_limit code=4") || !strings.Contains(last, "igproxy resume") || !strings.Contains(last, "app=default") {
			t.Errorf("got %s, want %s, class=app_limit, code=4, app=default and the command igproxy resume", last, want)
		}
	})
}

// After a reload, a label may name another app, or the app may have another upstream. Meta's rate
// limit from before the reload does not apply then, so the pause ends.
func TestAPauseEndsIfAReloadReplacesTheAppOrItsUpstream(t *testing.T) {
	other, err := url.Parse("http://127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Options)
		kept   bool
	}{
		"the same options":     {func(*Options) {}, true},
		"another secret":       {func(o *Options) { o.Apps[0].Secret = NewSecret("another-secret") }, true},
		"another ID":           {func(o *Options) { o.Apps[0].ID = "99" }, false},
		"another service":      {func(o *Options) { o.Apps[0].Service = Threads }, false},
		"another upstream":     {func(o *Options) { o.UpstreamURL = other }, false},
		"the Threads upstream": {func(o *Options) { o.ThreadsURL = other }, true},
	} {
		upstream := newService(t)
		o := optionsFor(t, upstream.url.String(), nil)
		o.Cache, o.Apps = newCache(t), shops()
		p := newProxy(t, o)
		limited(t, p, upstream, "/apps/shop")
		o.Apps = shops()
		c.change(&o)
		if err := p.Reload(o); err != nil {
			t.Fatal(err)
		}
		if kept := len(p.Pauses()) == 1; kept != c.kept {
			t.Errorf("a reload with %s: pause kept: %v, want %v", name, kept, c.kept)
		}
	}
}
