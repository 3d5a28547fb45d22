package proxy

import (
	"bufio"
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestManyHitsWriteFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := optionsFor(t, "https://graph.instagram.com", nil)
		o.HitLines, o.Logger = 3, slog.New(slog.NewJSONHandler(&log, nil))
		p := laneProxy(t, o)
		// Three hits of the first second have a line. The next line reports the other seven.
		for _, hits := range []int{10, 1, 2, 5} {
			for range hits {
				if w := ask(p, get(target(warmToken))); w.Code != 200 {
					t.Fatalf("got %d", w.Code)
				}
			}
			if w := ask(p, get(target("IGAA-cold"))); w.Code != 503 { // always has a line
				t.Fatalf("got %d", w.Code)
			}
			time.Sleep(time.Second)
		}
		text := log.String()
		if n := strings.Count(text, `"source":"memory"`); n != 3+1+2+3 {
			t.Errorf("%d lines about hits, want 9:\n%s", n, text)
		}
		if n := strings.Count(text, `"status":503`); n != 4 {
			t.Errorf("%d lines about the others, want 4", n)
		}
		if strings.Count(text, `"hits_not_logged"`) != 1 || !strings.Contains(text, `"hits_not_logged":7`) {
			t.Errorf("want 7 hits without a line to be reported once:\n%s", text)
		}
	})
}

// A hit that read the clock in the previous second must not start that second again.
func TestLateHitDoesNotRestartItsSecond(t *testing.T) {
	h, now := hitLines{most: 1}, time.Unix(1000, 0)
	for i, c := range []struct {
		at   time.Duration
		want bool
	}{
		{0, true}, {time.Second, true}, {0, false}, {time.Second, false}, {2 * time.Second, true},
		{-time.Hour, true}, {-time.Hour, false}, // a clock that was set back starts a second, too
	} {
		if _, ok := h.next(now.Add(c.at)); ok != c.want {
			t.Errorf("hit %d, at %s: a line is %v, want %v", i, c.at, ok, c.want)
		}
	}
}

var requestIDs = regexp.MustCompile(`"request_id":"[0-9a-f]{16}",`)

func TestTheLaneCountsAndLogsAsNetHTTPDoes(t *testing.T) {
	seen := map[bool]string{}
	for _, on := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			o := optionsFor(t, "https://graph.instagram.com", nil)
			o.Logger = slog.New(slog.NewJSONHandler(&log, nil))
			o.Metrics = NewMetrics()
			o.Cache = newCacheWatchedBy(t, o.Metrics)
			p := laneProxy(t, o)
			s := newLaneServer(t, p, on)
			c := s.dial(t)
			r := bufio.NewReader(c)
			for _, request := range []string{hitRequest, hitRequest, strings.Replace(hitRequest, warmToken, "IGAA-cold", 1), hitRequest, hitRequest} {
				roundTrip(t, c, r, request)
				time.Sleep(time.Second)
				synctest.Wait()
			}
			page := httptest.NewRecorder()
			o.Metrics.Handler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			seen[on] = requestIDs.ReplaceAllString(log.String(), "")
			for line := range strings.Lines(page.Body.String()) {
				if strings.HasPrefix(line, "igproxy_") {
					seen[on] += line
				}
			}
		})
	}
	if seen[true] != seen[false] {
		t.Errorf("net/http:\n%s\nthe lane:\n%s", seen[false], seen[true])
	}
}
