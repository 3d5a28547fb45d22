package integration

// In these tests Meta returns the same token for a refresh, hangs, fails, or refuses the successor
// or the token itself.

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestARefreshThatReturnsTheSameTokenKeepsItAlive(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 2, often)
	meta.SetRefresh("same")
	long := meta.newLong(t, all[0], "IGAA-same")
	for life := 1; life <= 2; life++ { // after two rounds, the token is older than keptLife
		eventually(t, "the token gets a new life", func() bool {
			all[life%2].uses(t, long)
			return len(meta.Issued(long)) >= life
		})
		meta.Age(keptLife - day)
	}
	for _, p := range all {
		p.uses(t, long)
		if got := meta.lastToken(); got != long {
			t.Errorf("the token of the call: got %s, want the app's token %s", got, long)
		}
	}
	r := all[0].fetch(t, refreshPath(long))
	if r.status != 200 || r.token() != long {
		t.Errorf("a refresh by the app got %d %s, want 200 with the same token", r.status, r.body)
	}
}

// Calls do not wait for refreshes. The test compares the time that calls take while a refresh hangs
// with the time that they take afterwards.
func TestCallsDoNotWaitForARefreshThatHangs(t *testing.T) {
	t.Parallel()
	const calls = 100
	meta, _, all := keptBy(t, 1)
	long := meta.newLong(t, all[0], "IGAA-patient")
	median := func(token string) time.Duration {
		t.Helper()
		took := make([]time.Duration, calls)
		for i := range took {
			r := all[0].fetch(t, mePath(token))
			if r.status != 200 {
				t.Fatalf("got %d %s, want 200", r.status, r.body)
			}
			took[i] = r.took
		}
		slices.Sort(took)
		return took[calls/2]
	}
	open := meta.holdBefore(t)
	all[0].uses(t, long)
	meta.holds(t)
	during := median(long)
	if meta.held.Load() != 1 || meta.lastToken() != long {
		t.Errorf("hanging refreshes: got %d, want 1; token of the last call: got %s, want the app's token %s", meta.held.Load(), meta.lastToken(), long)
	}
	open()
	meta.successor(t, all[0], long)
	after := median(long)
	t.Logf("median of %d calls: %s while a refresh hangs, %s afterwards", calls, during, after)
	if during > 5*after+20*time.Millisecond {
		t.Errorf("median while a refresh hangs: got %s, want at most %s (five times the median afterwards, plus 20ms)", during, 5*after+20*time.Millisecond)
	}
}

// If Meta does not answer a refresh with a token, igproxy tries again later. Meanwhile it sends
// calls unchanged.
func TestARefreshThatFailsIsRepeated(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"down", "html", "truncated", "notoken", "badjson", "limit429"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			meta, _, all := keptBy(t, 1, often, "UPSTREAM_RETRIES=0", "BREAKER_FAILURES=1000", "BREAKER_RATIO=1")
			long := meta.newLong(t, all[0], "IGAA-fails")
			open := meta.holdBefore(t)
			all[0].uses(t, long)
			meta.holds(t)
			meta.SetFault(fault)
			open()
			eventually(t, "the refresh has failed", func() bool {
				return all[0].metric(t, `igproxy_keep_refreshes_total{app="default",outcome="failed"}`) >= 1
			})
			meta.SetFault("")
			all[0].uses(t, long)
			if got := meta.lastToken(); got != long {
				t.Errorf("the token of the call: got %s, want the app's token %s", got, long)
			}
			// Because of Retry-After, the app is paused for seven seconds. The test does not wait
			// for the next refresh.
			if fault == "limit429" {
				return
			}
			meta.successor(t, all[0], long)
		})
	}
}

func TestARevokedSuccessorIsReplacedByTheTokenItself(t *testing.T) {
	t.Parallel()
	form := func(p *process, token string) (response, error) {
		return sendRequest(t.Context(), http.MethodPost, p.URL+"/me/media", "access_token="+url.QueryEscape(token)+"&caption=x", "Content-Type", "application/x-www-form-urlencoded")
	}
	for name, call := range map[string]func(p *process, token string) (response, error){
		"query": func(p *process, token string) (response, error) {
			return fetch(t.Context(), noKeepAlive, p.URL+mePath(token))
		},
		"bearer": func(p *process, token string) (response, error) {
			return fetchWith(t.Context(), noKeepAlive, p.URL+"/me?fields=id", "Authorization", "Bearer "+token)
		},
		"form": form,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			meta, _, all := keptBy(t, 2)
			long := meta.newLong(t, all[0], "IGAA-revoked")
			if name == "bearer" { // a token of unknown end
				long = meta.oldLong(t, "IGAA-revoked")
			}
			next := meta.successor(t, all[0], long)
			all[1].uses(t, long)
			meta.Revoke(next, 460)
			for i, p := range all { // each has a copy of the record in memory
				before := [2]int{meta.CallsFor(next), meta.CallsFor(long)}
				if r, err := call(p, long); err != nil || r.status != 200 {
					t.Errorf("sidecar %d: got %d %s, %v; want 200 for the token itself", i, r.status, r.body, err)
				}
				if tried, sent := meta.CallsFor(next)-before[0], meta.CallsFor(long)-before[1]; tried != 1 || sent != 1 {
					t.Errorf("sidecar %d: sent %d times with the successor and %d times with the token itself, want once each", i, tried, sent)
				}
				eventually(t, "the successor is dropped", func() bool {
					tried := meta.CallsFor(next)
					p.uses(t, long)
					return meta.lastToken() == long && meta.CallsFor(next) == tried
				})
			}
			meta.Revoke(long, 467)
			for i, p := range all {
				if r, err := call(p, long); err != nil || r.status != 400 || r.graphError(t).Code != 190 || r.graphError(t).Subcode != 467 {
					t.Errorf("sidecar %d: got %d %s, %v; want 400 with code 190 and subcode 467, Meta's refusal of the token itself", i, r.status, r.body, err)
				}
			}
			if r := all[0].fetch(t, refreshPath(long)); r.status != 400 || r.graphError(t).Code != 190 {
				t.Errorf("a refresh by the app got %d %s, want 400 with code 190", r.status, r.body)
			}
		})
	}
}

// Meta can refuse a valid token for a while, for example until its user has logged in at
// facebook.com (subcode 459). Here the app's token has ended, so if igproxy dropped the successor,
// the user would have to log in again.
func TestASuccessorThatIsRefusedForAWhileIsNotLost(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 1)
	long := meta.oldLong(t, "IGAA-checkpoint")
	next := meta.successor(t, all[0], long)
	meta.Age(keptLife - 2*day)
	if !meta.refusesDirectly(t, long) {
		t.Fatal("Meta accepts the app's token, want a refusal with code 190, because the token has ended")
	}
	meta.SetFault("garbage") // code 190
	for range 3 {
		if r := all[0].fetch(t, mePath(long)); r.status != 400 || r.graphError(t).Code != 190 {
			t.Errorf("got %d %s, want 400 with code 190", r.status, r.body)
		}
	}
	meta.SetFault("")
	if r := all[0].fetch(t, mePath(long)); r.status != 200 || meta.lastToken() != next {
		t.Errorf("response: got %d %s, want 200; token of the call: got %s, want the successor %s", r.status, r.body, meta.lastToken(), next)
	}
}

// A body that was streamed cannot be sent twice. The app gets Meta's response, and igproxy sends
// later calls with the token itself.
func TestAStreamedCallWithARevokedSuccessorGetsMetasAnswer(t *testing.T) {
	t.Parallel()
	meta, _, all := keptBy(t, 1)
	long := meta.newLong(t, all[0], "IGAA-streamed")
	next := meta.successor(t, all[0], long)
	meta.Revoke(next, 460)
	upload := func() response {
		r, err := sendRequest(t.Context(), http.MethodPost, all[0].URL+"/me/media?access_token="+url.QueryEscape(long), strings.Repeat("x", 100<<10), "Content-Type", "image/jpeg")
		must(t, err)
		return r
	}
	if r := upload(); r.status != 400 || r.graphError(t).Subcode != 460 {
		t.Errorf("got %d %s, want 400 with subcode 460, Meta's refusal of the successor", r.status, r.body)
	}
	eventually(t, "an upload succeeds", func() bool { return upload().status == 200 })
	if got := meta.lastToken(); got != long {
		t.Errorf("the token of the last upload: got %s, want the app's token %s", got, long)
	}
}

// If a user revokes a token before its first use, igproxy does not refresh the token.
func TestARevokedTokenIsNotRefreshed(t *testing.T) {
	t.Parallel()
	meta := newRenewing(t, mock.Options{Secret: appSecret})
	p := serve(t, append(keeping(often), "UPSTREAM_URL="+meta.url)...) // without Redis
	long := meta.newLong(t, p, "IGAA-gone")
	meta.Revoke(long, 467)
	if r := p.fetch(t, mePath(long)); r.status != 400 || r.graphError(t).Subcode != 467 {
		t.Errorf("got %d %s, want 400 with subcode 467", r.status, r.body)
	}
	other := meta.newLong(t, p, "IGAA-other")
	meta.successor(t, p, other) // if the revoked token had been queued, it would have been refreshed first
	if got := meta.RefreshesFor(long); got != 0 {
		t.Errorf("%d refreshes of a revoked token, want 0", got)
	}
}
