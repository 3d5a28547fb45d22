package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// At most three lines of each kind are written in a second. The next line of a kind says how many
// lines of that kind were left out. A flood of lines of one kind does not suppress lines of another
// kind.
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
				t.Fatalf("got %d, want 503", w.Code)
			}
			time.Sleep(time.Second)
		}
		text := log.String()
		for status, want := range map[string]int{`"status":200`: 3 + 1 + 2 + 3, `"status":400`: 3 + 1 + 2 + 3, `"status":421`: 3 + 1 + 2 + 3, `"status":503`: 4} {
			if n := strings.Count(text, status); n != want {
				t.Errorf("%d lines with %s, want %d", n, status, want)
			}
		}
		if all, sevens := strings.Count(text, `"not_logged"`), strings.Count(text, `"not_logged":7`); all != 3 || sevens != 3 {
			t.Errorf("not_logged is in %d lines, want 3, one for each kind; it is 7 in %d lines, want 3; the log:\n%s", all, sevens, text)
		}
	})
}

// While Meta hangs for ten minutes, 50 cold tokens are requested each second, and igproxy refuses
// almost all of these requests. It writes few lines about the refusals. Each line says how many
// lines were left out before it. So together the lines account for all refusals, except those after
// the last line.
func TestRefusalsDuringAnOutageWriteFewLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most, rate, seconds = 3, 50, 600
		var log bytes.Buffer
		e := testEngine(t)
		e.first = newGuarded(t, 10, func(context.Context, call) (answer, error) { return answer{}, errTimeout() })
		p := &Proxy{carried: carried{metrics: NewMetrics(), lines: newRequestLines(most), log: slog.New(slog.NewJSONHandler(&log, nil))}}
		p.current.Store(e)
		refused := 0
		for second := range seconds {
			for n := range rate {
				if w := ask(p, get(target(fmt.Sprintf("IGAA-%d-%d", second, n)))); w.Code == http.StatusServiceUnavailable {
					refused++
				}
			}
			time.Sleep(time.Second)
		}
		lines, accounted := 0, 0
		for text := range bytes.Lines(log.Bytes()) {
			var line struct {
				Level, Msg, Cause string
				Status            int
				Skipped           int `json:"not_logged"`
			}
			if err := json.Unmarshal(text, &line); err != nil {
				t.Fatal(err)
			}
			if line.Status == http.StatusServiceUnavailable {
				lines, accounted = lines+1, accounted+1+line.Skipped
				if line.Level != "WARN" || line.Cause != "breaker open" {
					t.Fatalf("got %s, want the level WARN and the cause \"breaker open\"", text)
				}
			}
		}
		if refused < seconds*(rate-1) || lines != most*seconds {
			t.Errorf("%d lines about %d refusals, want %d lines about at least %d refusals", lines, refused, most*seconds, seconds*(rate-1))
		}
		if missing := refused - accounted; missing < 0 || missing > rate { // the lines left out last are not reported
			t.Errorf("the lines account for %d of %d refusals, want all but at most %d", accounted, refused, rate)
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
		t.Errorf("net/http:\n%s\nthe lane:\n%s\nwant the same log and metrics", seen[false], seen[true])
	}
}
