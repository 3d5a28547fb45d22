package admin_test

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/keep"
	"github.com/igproxy/igproxy/proxy/mock"
)

// newKeeping returns a Proxy that keeps the tokens of two apps. The stand-in's tokens are valid for
// 48 hours. RefreshBefore is longer, so each token is due for a refresh.
func newKeeping(t *testing.T) (i *mock.Instagram, p *proxy.Proxy) {
	t.Helper()
	i = mock.New(mock.Options{Secret: appSecret, TokenLife: 48 * time.Hour})
	s, err := mock.Start(i, mock.ServerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o := optionsFor(t, s.URL)
	o.Apps = []proxy.App{{Label: "shop", ID: "1", Secret: proxy.NewSecret(appSecret)}, {Label: "club", ID: "2", Secret: proxy.NewSecret("another " + appSecret)}}
	o.Keep = &proxy.KeepOptions{RefreshBefore: 240 * time.Hour, CheckEvery: 24 * time.Hour, MaxPerMinute: 60}
	o.Passthrough, o.MaxPassedInFlight = &proxy.PassthroughOptions{Timeout: time.Minute, MaxBodyBytes: 1 << 20}, 64
	p = newProxy(t, o)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ends when stop is called
		defer close(ended)
		p.KeepTokens(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-ended
		i.Close()
		s.Close()
	})
	return i, p
}

func TestTheKeptTokensOfEachAppAreInTheStatusAndOnThePage(t *testing.T) {
	i, p := newKeeping(t)
	h := handlerOf(t, p)
	var issued struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(get(p, "/apps/shop"+exchange("IGAAone")).Body.Bytes(), &issued); err != nil {
		t.Fatal(err)
	}
	i.Age(time.Hour)
	if w := get(p, "/apps/shop/me?fields=id&access_token="+url.QueryEscape(issued.Token)); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	kept := func() (shop, club *keep.Status) {
		apps := status(t, h).Apps
		return apps[0].Keep, apps[1].Keep
	}
	shop, club := kept()
	for start := time.Now(); shop.Refreshed == 0 && time.Since(start) < 20*time.Second; <-time.After(time.Millisecond) {
		shop, club = kept()
	}
	if *shop != (keep.Status{Refreshed: 1}) || *club != (keep.Status{}) {
		t.Errorf("got %+v for shop and %+v for club, want one refresh for shop only", *shop, *club)
	}
	const want = "Kept tokens shop | refreshes in 24 h: 1 done, 0 refused, 0 failed; tokens now: 0 ending soon, 0 waiting for a refresh | " +
		"club | refreshes in 24 h: 0 done, 0 refused, 0 failed; tokens now: 0 ending soon, 0 waiting for a refresh |"
	if got := words(t, h); !strings.Contains(got, want) {
		t.Errorf("the page does not have %q:\n%s", want, got)
	}
	if w := get(p, "/apps/shop/refresh_access_token?grant_type=ig_refresh_token&access_token="+url.QueryEscape(issued.Token)); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	if got := status(t, h); got.HitRatio == nil || *got.HitRatio != .5 || got.Saved.Cache != 1 || got.Apps[0].Keep.Ending != 1 {
		t.Errorf("after an exchange, and a refresh that was answered with the successor: got hit ratio %s, want 0.5; got saved %+v, want 1 by the cache; got kept %+v, want 1 ending", ratioText(got.HitRatio), got.Saved, got.Apps[0].Keep)
	}
}

func TestKeptTokensAreNotInTheStatusOrOnThePageIfKeepingIsOff(t *testing.T) {
	h := handlerOf(t, newProxy(t, optionsFor(t, nowhere)))
	if got := status(t, h).Apps[0].Keep; got != nil {
		t.Errorf("the status has the kept tokens %+v, want nil", got)
	}
	if got := words(t, h); strings.Contains(got, "Kept tokens") {
		t.Errorf("the page has a section for kept tokens, want no such section:\n%s", got)
	}
}
