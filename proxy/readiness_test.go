package proxy

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

func TestUpstreamsReportWhenTheirOutageBeganOrEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		s := newGuarded(t, 1, nil).circuits
		s.log = slog.New(slog.NewTextHandler(&log, nil))
		p := &Proxy{carried: carried{circuits: s}}
		check := func(when string, want breaker.State, since time.Time, probes int) {
			t.Helper()
			for _, u := range p.Upstreams() {
				if u.Name == upstreamGraph && (u.Breaker != want || !u.Since.Equal(since) || u.Probes != probes) {
					t.Errorf("%s: got %s since %v with %d probes, want %s since %v with %d probes", when, u.Breaker, u.Since, u.Probes, want, since, probes)
				}
				if u.Name != upstreamGraph && (!u.Since.IsZero() || u.Probes != 0) {
					t.Errorf("%s: the upstream %s reports an outage since %v with %d probes, want no outage", when, u.Name, u.Since, u.Probes)
				}
			}
		}
		one, another := callFor(t, "a"), callFor(t, "b")
		another.redirect = "https://app.example/callback"
		do := func(c call, v breaker.Verdict) { _ = s.of(c).Do(func() breaker.Verdict { return v }) }
		check("before any failure", breaker.Closed, time.Time{}, 0)
		for range 3 {
			do(one, breaker.Failure)
		}
		opened := time.Now()
		for range 720 { // two hours
			time.Sleep(10*time.Second + 1)
			do(one, breaker.Failure)
		}
		check("after two hours", breaker.Open, opened, 720)
		if last := log.String()[strings.LastIndex(log.String(), "breaker changed"):]; !strings.Contains(last, "to=open since="+opened.Format("2006-01-02T15:04:05.000Z07:00")+" probes=720") {
			t.Errorf("got the log line %s, want one that says when the outage began, and that there were 720 probes", last)
		}
		for range 3 {
			do(another, breaker.Failure)
		}
		laterOpened := time.Now()
		check("with another breaker open", breaker.Open, opened, 720)
		time.Sleep(10*time.Second + 1)
		do(one, breaker.Success)
		check("after the first breaker has closed", breaker.HalfOpen, laterOpened, 0)
		do(another, breaker.Success)
		check("after the outage", breaker.Closed, time.Now(), 0)
	})
}
