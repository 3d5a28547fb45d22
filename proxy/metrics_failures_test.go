package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestFailuresHaveCauseCodeAndRequestIDAndNoToken(t *testing.T) {
	_, upstream := newInstagram(t, mock.ServerOptions{})
	o := optionsFor(t, upstream.URL, nil)
	o.Retries = 0
	p := newProxy(t, o)
	send := func(target string) string {
		return ask(p, httptest.NewRequest(http.MethodGet, target, nil)).Header().Get("X-Request-Id")
	}
	send(target("IGAAgood-canary"))
	var ids []string
	for _, path := range []string{target("expired-canary"), target("down-canary"), "/access_token?grant_type=canary"} {
		ids = append(ids, send(path))
	}
	got := p.Failures()
	want := []Failure{
		{App: "none", Grant: "none", Outcome: "rejected", Status: 400, Code: 100, Subcode: 990008,
			Cause: "igproxy rejected the request: The parameter grant_type is missing, repeated, or not supported by this call", RequestID: ids[2]},
		{App: "default", Grant: "exchange", Outcome: "unavailable", Status: 502, Code: 2, Cause: "Meta answered with an error", RequestID: ids[1]},
		{App: "default", Grant: "exchange", Outcome: "refused", Status: 400, Code: 190, Subcode: 463, Cause: "Meta refused the user's token", RequestID: ids[0]},
	}
	if len(got) != len(want) {
		t.Fatalf("got %d failures, want %d: %+v", len(got), len(want), got)
	}
	for i, f := range got {
		if f.Count != 1 || f.First.IsZero() || !f.First.Equal(f.Last) {
			t.Errorf("%+v: want a Count of 1, and First equal to Last", f)
		}
		f.Count, f.First, f.Last = 0, time.Time{}, time.Time{}
		if f != want[i] {
			t.Errorf("got  %+v\nwant %+v", f, want[i])
		}
	}
	if text, _ := json.Marshal(got); bytes.Contains(text, []byte("canary")) {
		t.Errorf("the failures contain what a client sent: %s", text)
	}
}

// During an outage igproxy repeats one error for each request. These repetitions must not push out
// the failure with which the outage began.
func TestFailuresOfOneKindShareAnEntry(t *testing.T) {
	s := &lastFailures{}
	start := time.Now()
	note := func(code int, at time.Duration) (id string) {
		x := &requestState{id: newRequestID(), app: "shop", grant: "exchange", err: badRequest(code, "It is wrong. Change it.")}
		s.note(x, start.Add(at))
		return x.id.String()
	}
	note(1, 0)
	note(2, time.Second)
	id := ""
	for i := range 1000 {
		id = note(1, time.Duration(i)*time.Minute)
	}
	if len(s.list) != 2 || s.list[0].Subcode != 1 || s.list[0].Count != 1001 || s.list[0].RequestID != id ||
		!s.list[0].First.Equal(start) || !s.list[0].Last.Equal(start.Add(999*time.Minute)) {
		t.Errorf("got %+v, want two entries, the first with Subcode 1, Count 1001, First %v, Last %v and RequestID %s", s.list, start, start.Add(999*time.Minute), id)
	}
	for code := range 50 {
		note(100+code, time.Hour)
	}
	if len(s.list) != maxFailures || s.list[0].Subcode != 149 || s.list[maxFailures-1].Subcode != 130 {
		t.Errorf("got %d entries, want %d, with the subcodes from 149 down to 130: %+v", len(s.list), maxFailures, s.list)
	}
	s.note(&requestState{gone: true, err: errTimeout()}, start)
	s.note(&requestState{app: "shop"}, start)
	if s.list[0].Subcode != 149 {
		t.Errorf("after a disconnected caller and a request that got a token: the latest failure is %+v, want Subcode 149", s.list[0])
	}
}

func TestFailuresOfTheLaneAreKeptToo(t *testing.T) {
	p := newProxy(t, optionsFor(t, "http://127.0.0.1:1", nil))
	e := p.current.Load()
	if e.plain == nil {
		t.Fatal("the lane is off")
	}
	h := &laneHandler{proxy: p}
	_ = h.miss(nil, e, []byte("IGAAcold"), false)
	id := h.x.id.String()
	h.Sent(time.Now(), time.Millisecond)
	if got := p.Failures(); len(got) != 1 || got[0].RequestID != id || got[0].Cause != "the connection to Meta failed (refused)" {
		t.Errorf("got %s, want one failure, with the request ID %s and the cause \"the connection to Meta failed (refused)\"", fmt.Sprint(got), id)
	}
}
