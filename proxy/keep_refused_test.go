package proxy

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// keptToken is a proxy whose cache has a record of the token "old" with the successor "new". The
// upstream accepts only the token in the field valid, and refuses all others with code 190.
type keptToken struct {
	*Proxy
	t *testing.T

	mu    sync.Mutex // protects valid and calls
	valid string
	calls []string // the tokens that the upstream saw since read was last called
}

// newKeptToken returns a keptToken. The parameter left is the time until the token "old" ends. A
// negative left means that "old" has ended. If left is zero, the record does not say when "old"
// ends.
func newKeptToken(t *testing.T, left time.Duration) *keptToken {
	t.Helper()
	k := &keptToken{t: t}
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := r.FormValue("access_token")
		k.mu.Lock()
		k.calls = append(k.calls, token)
		valid := token == k.valid
		k.mu.Unlock()
		if !valid {
			refusing(400, revokedBody)(w)
		}
	}))
	t.Cleanup(upstream.Close)
	o := optionsFor(t, upstream.URL, nil)
	o.Passthrough = passing(PassthroughOptions{})
	o.Keep = &KeepOptions{RefreshBefore: time.Hour, CheckEvery: time.Hour, MaxPerMinute: 1}
	k.Proxy = newProxy(t, o)
	record := map[string]any{"successor": "new", "successor_end": time.Now().Add(30 * 24 * time.Hour).UnixMilli()}
	if left != 0 {
		record["end"] = time.Now().Add(left).UnixMilli()
	}
	text, err := json.Marshal(record)
	if err != nil {
		t.Fatal(err)
	}
	key := k.current.Load().apps[0].keepKey("old")
	if _, _, err = k.carried.cache.Update(key, func(cache.Entry, bool) (cache.Entry, bool) {
		return cache.Entry{Value: text, Expires: time.Now().Add(30 * 24 * time.Hour)}, true
	}); err != nil {
		t.Fatal(err)
	}
	return k
}

// read makes a call with the token "old" while the upstream accepts only the token in valid. It
// returns the tokens that the upstream saw.
func (k *keptToken) read(method, valid, contentType, body string) []string {
	k.t.Helper()
	k.mu.Lock()
	k.valid, k.calls = valid, nil
	k.mu.Unlock()
	r := httptest.NewRequest(method, "/me?access_token=old", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	ask(k.Proxy, r)
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.calls)
}

// Meta also uses code 190 for some calls that a valid token may not make, for example for calls
// that need the token of a page (subcode 2069032). If the app's token has ended, the successor is
// the only valid token, so a refusal with code 190 must not drop the successor.
//
// The name of a case begins with the state of the token itself: its end has passed ("ended"), has
// not passed ("valid", "revoked"), or is unknown. igproxy cannot repeat a call whose body it
// streams.
func TestRefusedSuccessorIsKeptIfTheTokenItselfHasEnded(t *testing.T) {
	for name, c := range map[string]struct {
		left        time.Duration
		method      string
		contentType string
		body        string
		valid       string   // the token that Meta accepts
		want        []string // the tokens that Meta sees
		then        []string // the first token that Meta sees in the next call, when it accepts only the successor
	}{
		"ended":                     {left: -time.Hour, method: "GET", want: []string{"new"}, then: []string{"new"}},
		"ended, streamed":           {left: -time.Hour, method: "POST", contentType: "application/json", body: "{}", want: []string{"new"}, then: []string{"new"}},
		"valid":                     {left: time.Hour, method: "GET", valid: "old", want: []string{"new", "old"}, then: []string{"old"}},
		"valid, streamed":           {left: time.Hour, method: "POST", contentType: "application/json", body: "{}", want: []string{"new"}, then: []string{"old"}},
		"revoked":                   {left: time.Hour, method: "GET", want: []string{"new", "old"}, then: []string{"old"}},
		"unknown, and valid":        {method: "GET", valid: "old", want: []string{"new", "old"}, then: []string{"old"}},
		"unknown, and both refused": {method: "GET", want: []string{"new", "old"}, then: []string{"new"}},
		"unknown, streamed":         {method: "POST", contentType: "application/json", body: "{}", want: []string{"new"}, then: []string{"new"}},
	} {
		t.Run(name, func(t *testing.T) {
			k := newKeptToken(t, c.left)
			if got := k.read(c.method, c.valid, c.contentType, c.body); !slices.Equal(got, c.want) {
				t.Errorf("Meta saw the tokens %q, want %q", got, c.want)
			}
			if got := k.read("GET", "new", "", "")[:1]; !slices.Equal(got, c.then) {
				t.Errorf("in the next call, Meta saw %q first, want %q", got, c.then)
			}
		})
	}
}
