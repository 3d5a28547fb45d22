package proxy

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

func TestAnOutageIsOneEntryWithStartEndAndProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := optionsFor(t, "http://127.0.0.1:1", nil)
		o.Apps = []App{{Label: "shop", ID: "1", Secret: NewSecret(testSecret)}, {Label: "club", ID: "2", Secret: NewSecret(testSecret)}}
		o.Breaker.Failures, o.Breaker.Open = 3, 10*time.Second
		p := newProxy(t, o)
		e := p.current.Load()
		end := func(app int, v breaker.Verdict) {
			_ = p.carried.circuits.of(call{app: e.apps[app], grant: e.grants[0]}).Do(func() breaker.Verdict { return v })
		}
		if got := p.Outages(); len(got) != 0 {
			t.Fatalf("before any failure: got %+v, want no outage", got)
		}
		start := time.Now()
		for range 3 {
			end(0, breaker.Failure)
		}
		time.Sleep(time.Second)
		for range 3 {
			end(1, breaker.Failure)
		}
		for range 5 { // probes of both apps fail
			time.Sleep(11 * time.Second)
			end(0, breaker.Failure)
			end(1, breaker.Failure)
		}
		want := Outage{Of: "instagram", Start: start, Probes: 10, Breakers: []string{"shop exchange", "club exchange"}}
		same := func(a, b Outage) bool {
			return a.Of == b.Of && a.Start.Equal(b.Start) && a.End.Equal(b.End) && a.Probes == b.Probes && slices.Equal(a.Breakers, b.Breakers)
		}
		if got := p.Outages(); len(got) != 1 || !same(got[0], want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		time.Sleep(11 * time.Second)
		end(0, breaker.Success)
		if got := p.Outages(); len(got) != 1 || !got[0].End.IsZero() {
			t.Fatalf("one app's breaker is not closed yet: got %+v, want one outage that continues", got)
		}
		time.Sleep(time.Second)
		end(1, breaker.Success)
		want.End, want.Probes = time.Now(), 12
		if got := p.Outages(); len(got) != 1 || !same(got[0], want) {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		time.Sleep(time.Hour)
		for range 3 {
			end(1, breaker.Failure)
		}
		p.Metrics().RedisState(true) // no outage of Redis has begun, so this records nothing
		p.Metrics().RedisState(false)
		o.Apps = o.Apps[:1]
		time.Sleep(time.Minute)
		if err := p.Reload(o); err != nil { // ends the outage of the removed app, whose breaker is gone
			t.Fatal(err)
		}
		got := p.Outages()
		if len(got) != 3 || got[0].Of != "redis" || !got[0].End.IsZero() || got[1].End.Sub(got[1].Start) != time.Minute || !same(got[2], want) {
			t.Fatalf("got %+v, want an outage of redis that continues, an outage that the reload ended after a minute, and %+v", got, want)
		}
		p.Metrics().RedisState(true)
		if got := p.Outages(); got[0].End.Sub(got[0].Start) != time.Minute {
			t.Errorf("got %+v, want an outage of redis of one minute", got)
		}
	})
}

func TestOnlyTheLastOutagesAreKept(t *testing.T) {
	s, now := &outages{}, time.Now()
	for i := range 3 * maxOutages {
		at := now.Add(time.Duration(i) * time.Hour)
		s.change(circuit{app: "shop", grant: "exchange"}, "instagram", breaker.Change{To: breaker.Open, Outage: breaker.Outage{Since: at}}, at)
		s.change(circuit{app: "shop", grant: "exchange"}, "instagram", breaker.Change{To: breaker.Closed}, at.Add(time.Minute))
	}
	if len(s.list) != maxOutages || !s.list[0].Start.Equal(now.Add(2*maxOutages*time.Hour)) {
		t.Errorf("got %d outages, want %d; the first began at %v, want %v", len(s.list), maxOutages, s.list[0].Start, now.Add(2*maxOutages*time.Hour))
	}
}
