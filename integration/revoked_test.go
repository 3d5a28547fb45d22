package integration

// When a user revokes a token, igproxy learns of it from the first passed-through call that Meta
// refuses with code 190. Soon after, no sidecar of the fleet returns that token as the answer to an
// exchange.

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/igproxy/igproxy/cache/redistest"
)

// revocable is an upstream whose users can revoke their tokens. Each exchange issues a new token.
type revocable struct {
	url string

	mu      sync.Mutex      // protects the fields below
	issued  map[string]int  // number of exchanges, by short-lived token
	revoked map[string]bool // by long-lived token
}

func newRevocable(t *testing.T) *revocable {
	t.Helper()
	u := &revocable{issued: map[string]int{}, revoked: map[string]bool{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u.mu.Lock()
		defer u.mu.Unlock()
		token := r.URL.Query().Get("access_token")
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		switch {
		case r.URL.Path == "/access_token":
			u.issued[token]++
			_, _ = fmt.Fprintf(w, `{"access_token":%q,"token_type":"bearer","expires_in":5183944}`, u.long(token))
		case u.revoked[token]:
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"error":{"message":"Error validating access token: The user has not authorized application 1.","type":"OAuthException","code":190,"error_subcode":467,"fbtrace_id":"A"}}`))
		default:
			_, _ = w.Write([]byte(`{"id":"17841400000000001"}`))
		}
	}))
	t.Cleanup(s.Close)
	u.url = s.URL
	return u
}

// long returns the latest long-lived token for a short-lived token. The caller holds mu.
func (u *revocable) long(short string) string {
	return fmt.Sprintf("%s-long-%d", short, u.issued[short])
}

func (u *revocable) revoke(token string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.revoked[token] = true
}

func (u *revocable) calls(short string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.issued[short]
}

func TestRevokedTokenIsForgottenByEverySidecar(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t)
	for name, settings := range map[string][]string{
		"single":  singleRedis(redistest.Start(t)),
		"cluster": {"REDIS_MODE=cluster", "REDIS_ADDRS=" + cluster.Addrs()},
	} {
		t.Run(name, func(t *testing.T) {
			meta := newRevocable(t)
			all := fleet(t, 2, append(settings, "UPSTREAM_URL="+meta.url, patientRedis)...)
			for _, short := range []string{"IGAA-one", "IGAA-two"} {
				for _, p := range all {
					eventually(t, "the token is shared", func() bool { return p.hits(t, short) })
					if got := p.ask(t, short).token(); got != short+"-long-1" {
						t.Fatalf("%s: got %q, want %q", short, got, short+"-long-1")
					}
				}
			}
			read := func(p *process, token string) int {
				t.Helper()
				r, err := fetch(t.Context(), http.DefaultClient, p.URL+"/me?fields=id&access_token="+token)
				must(t, err)
				return r.status
			}
			if got := read(all[1], "IGAA-one-long-1"); got != 200 {
				t.Fatalf("the read before the revocation: got %d, want 200", got)
			}
			meta.revoke("IGAA-one-long-1")
			if got := read(all[1], "IGAA-one-long-1"); got != 400 { // this sidecar has the token from Redis
				t.Fatalf("the read after the revocation: got %d, want 400", got)
			}
			for i, p := range all {
				eventually(t, fmt.Sprintf("sidecar %d does not answer with the revoked token", i), func() bool {
					return p.ask(t, "IGAA-one").token() == "IGAA-one-long-2"
				})
			}
			if got := read(all[0], "IGAA-one-long-1"); got != 400 { // an app may still use the revoked token
				t.Errorf("the second read after the revocation: got %d, want 400", got)
			}
			eventually(t, "the second refusal is counted, and no entry is found for its token", func() bool {
				return all[0].metric(t, `igproxy_revoked_tokens_total{app="default",result="unknown"}`) == 1
			})
			for i, p := range all {
				if !p.hits(t, "IGAA-one") || !p.hits(t, "IGAA-two") {
					t.Errorf("sidecar %d has forgotten the new token or another user's token", i)
				}
			}
			if one, two := meta.calls("IGAA-one"), meta.calls("IGAA-two"); one != 2 || two != 1 {
				t.Errorf("%d exchanges of IGAA-one (want 2), %d of IGAA-two (want 1)", one, two)
			}
			if got := all[1].metric(t, `igproxy_revoked_tokens_total{app="default",result="dropped"}`); got != 1 {
				t.Errorf("%v revoked tokens are counted, want 1", got)
			}
			for i, p := range all {
				log := p.settled(t) // sidecar 1 logs one forgotten token, sidecar 0 none
				if n := len(log.Lines("revoked token forgotten")); n != i || strings.Contains(log.String(), "IGAA-") {
					t.Errorf("sidecar %d logged %d forgotten tokens, want %d, and no token in the log:\n%s", i, n, i, log)
				}
			}
		})
	}
}
