package integration

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// A response with the code of a rate limit starts a pause, whatever its status is. The pause lasts
// as long as Instagram says. The breaker does not count a rate limit as a failure. With codes 4 and
// 613 the pause applies to all cold tokens of the app; with codes 17 and 32 it applies to one
// token. During the pause known tokens are served, and Instagram is not called for the paused
// tokens.
func TestRateLimitIsAPauseNotAFailure(t *testing.T) {
	t.Parallel()
	const pause = 2 * time.Second // Retry-After has whole seconds, and a busy machine could miss a pause of one second
	for name, code := range map[string]int{"code 4": 4, "code 613": 613, "code 17": 17, "code 32": 32} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // the cases mostly wait
			ig := newEdge(t, map[string]http.HandlerFunc{})
			p := serve(t, "UPSTREAM_URL="+ig.URL, "BREAKER_FAILURES=1")
			known := p.ask(t, "IGAA-known")
			for _, status := range []int{429, 400, 403} {
				wholeApp := code == 4 || code == 613
				limited := fmt.Sprintf("limited%d-%d", code, status)
				ig.script(fmt.Sprintf("limited%d", code), refuses(status, code, "Retry-After", strconv.Itoa(int(pause.Seconds()))))
				r := p.ask(t, limited)
				from := time.Now() // the pause has already begun
				if e := r.graphError(t); r.status != status || e.Code != code || !within(r.header.Get("Retry-After"), pause) {
					t.Fatalf("status %d: got %d %+v, Retry-After %q; want the status, the code and the Retry-After of Instagram", status, r.status, e, r.header.Get("Retry-After"))
				}
				ig.script(fmt.Sprintf("limited%d", code), nil)
				calls := ig.asked("")
				inPause := 0
				for i := range 5 {
					token := limited
					if wholeApp {
						token = fmt.Sprintf("IGAA-cold%d-%d-%d", code, status, i)
					}
					r := p.ask(t, token)
					if time.Since(from) > pause-100*time.Millisecond {
						break // on a slow machine the pause may be over
					}
					inPause++
					// If the whole app is paused, each cold token gets 429. If one token is
					// paused, it gets Instagram's refusal again.
					want := status
					if wholeApp {
						want = 429
					}
					if e := r.graphError(t); r.status != want || e.Code != code || !within(r.header.Get("Retry-After"), pause) || ig.asked("") != calls {
						t.Fatalf("status %d, during the pause: got %d %+v, Retry-After %q, want %d with code %d and Retry-After; the request cost %d calls, want 0", status, r.status, e, r.header.Get("Retry-After"), want, code, ig.asked("")-calls)
					}
				}
				if inPause == 0 {
					t.Errorf("status %d: no request was made during the pause", status)
				}
				if r := p.ask(t, "IGAA-known"); r.status != 200 || r.token() != known.token() {
					t.Errorf("status %d: a known token got %d; want 200 with the same token", status, r.status)
				}
				if !wholeApp {
					if r := p.ask(t, fmt.Sprintf("IGAA-other%d-%d", code, status)); r.status != 200 {
						t.Errorf("status %d: one user's limit affected another user: got %d, want 200", status, r.status)
					}
				}
				eventually(t, "the pause ends", func() bool { return p.ask(t, limited).status == 200 })
			}
			if changes := p.sum(t, "igproxy_breaker_changes_total"); changes > 0 || p.breaker(t) != "closed" {
				t.Errorf("rate limits changed the breaker %v times, want 0; the breaker is %s, want closed", changes, p.breaker(t))
			}
		})
	}
}

// within reports whether a Retry-After header is at least one second and at most the given time.
func within(header string, most time.Duration) bool {
	seconds, err := strconv.Atoi(header)
	return err == nil && seconds >= 1 && time.Duration(seconds)*time.Second <= most
}

// igproxy makes no call during the pause. The first request after the pause causes a call.
func TestPauseIsAsLongAsInstagramSays(t *testing.T) {
	t.Parallel()
	const pause = 2 * time.Second
	var said, next atomic.Int64
	ig := newEdge(t, map[string]http.HandlerFunc{
		"limit": func(w http.ResponseWriter, r *http.Request) {
			said.Store(time.Now().UnixNano())
			refuses(400, 4, "Retry-After", strconv.Itoa(int(pause.Seconds())))(w, r)
		},
		"cold": func(w http.ResponseWriter, r *http.Request) {
			next.CompareAndSwap(0, time.Now().UnixNano())
			says(200, "application/json", goodAnswer)(w, r)
		},
	})
	p := serve(t, "UPSTREAM_URL="+ig.URL)
	p.ask(t, "limit-1")
	n := 0
	eventually(t, "the pause ends", func() bool {
		n++
		return p.ask(t, fmt.Sprintf("cold-%d", n)).status == 200
	})
	if waited := time.Duration(next.Load() - said.Load()); waited < pause || waited > pause+noise {
		t.Errorf("Instagram was asked again after %s, want %s, as Retry-After said", waited, pause)
	}
}

// The stand-in says that its rate limit lasts five minutes. An operator who knows that the limit is
// over ends the pause with igproxy resume.
func TestResumeEndsAPause(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, adminSocket(t))
	ig.SetFault("limit4")
	p.ask(t, "IGAA-limited")
	ig.SetFault("")
	if r := p.ask(t, "IGAA-cold"); r.status != 429 || !within(r.header.Get("Retry-After"), 5*time.Minute) {
		t.Fatalf("during the pause: got %d, Retry-After %q; want 429 with Retry-After", r.status, r.header.Get("Retry-After"))
	}
	if lines := p.settled(t).Lines("app paused"); len(lines) != 1 || lines[0]["app"] != "default" || lines[0]["code"] != 4.0 || lines[0]["until"] == nil {
		t.Errorf("\"app paused\" is logged as %v, want one line, with the app, the code and the end of the pause", lines)
	}
	if _, out, _ := p.operate(t, "status"); !strings.Contains(out, "igproxy resume --app default ends it") {
		t.Errorf("the status does not say how to end the pause: %s", out)
	}
	if code, out, errs := p.operate(t, "resume", "--app", "other"); code != 1 || out != "" || !strings.Contains(errs, "no app has this name") {
		t.Errorf("an unknown app: exit code %d, want 1 with no standard output and \"no app has this name\": %s%s", code, out, errs)
	}
	if code, out, errs := p.operate(t, "resume", "--app", "default"); code != 0 || !strings.HasPrefix(out, `resumed: app "default"`) || errs != "" {
		t.Errorf("resume: exit code %d, want 0 with the app's name and no standard error: %s%s", code, out, errs)
	}
	if r := p.ask(t, "IGAA-cold"); r.status != 200 {
		t.Errorf("after resume: got %d %s, want 200", r.status, r.body)
	}
	if _, out, _ := p.operate(t, "status"); strings.Contains(out, "paused until") {
		t.Errorf("the status still shows a pause: %s", out)
	}
	if code, out, _ := p.operate(t, "resume"); code != 0 || out != "no app was paused\n" {
		t.Errorf("a second resume: exit code %d: %s; want 0 and \"no app was paused\"", code, out)
	}
	if done, failed := p.counted(t, "resume", "done"), p.counted(t, "resume", "failed"); done != 2 || failed != 1 {
		t.Errorf("counted %v resumes as done (want 2), and %v as failed (want 1)", done, failed)
	}
}
