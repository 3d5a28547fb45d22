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

// At most three lines of each kind are written in a second. The next line of the kind says how many
// were left out. A flood of one kind hides no line of another.
func TestRepeatedRequestsWriteFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		o := optionsFor(t, "https://graph.instagram.com", nil)
		o.LogLines, o.Logger = 3, slog.New(slog.NewJSONHandler(&log, nil))
		p := laneProxy(t, o)
		known, malformed, foreign := get(target(warmToken)), get("/access_token"), get("/access_token")
		known.Host, malformed.Host, foreign.Host = "localhost", "localhost", "evil.example"
		for _, n := range []int{10, 1, 2, 5} {
			for status, r := range map[int]*http.Request{200: known, 400: malformed, 421: foreign} {
				for range n {
					if w := httptest.NewRecorder(); serveTo(p, w, r) != status {
						t.Fatalf("got %d, want %d", w.Code, status)
					}
				}
			}
			if w := ask(p, get(target("IGAA-cold"))); w.Code != 503 {
				t.Fatalf("got %d", w.Code)
			}
			time.Sleep(time.Second)
		}
		text := log.String()
		for status, want := range map[string]int{`"status":200`: 3 + 1 + 2 + 3, `"status":400`: 3 + 1 + 2 + 3, `"status":421`: 3 + 1 + 2 + 3, `"status":503`: 4} {
			if n := strings.Count(text, status); n != want {
				t.Errorf("%d lines with %s, want %d", n, status, want)
			}
		}
		if strings.Count(text, `"not_logged"`) != 3 || strings.Count(text, `"not_logged":7`) != 3 {
			t.Errorf("want 7 lines left out for each of three kinds, reported once for each kind:\n%s", text)
		}
	})
}

func serveTo(p *Proxy, w *httptest.ResponseRecorder, r *http.Request) int {
	p.ServeHTTP(w, r)
	return w.Code
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
