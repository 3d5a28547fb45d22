package proxy

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

func TestEncodedAnswersDecodeToWhatWasRemembered(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	yes := true
	e := &graph.Error{Status: 400, Message: "m", Type: "OAuthException", Code: 190, Subcode: 463, UserTitle: "t", UserMsg: "u", Transient: &yes,
		TraceID: "x", RetryAt: now.Add(time.Minute).UTC(), Class: graph.ClassToken}
	back, ok := decodeAnswer(encodeAnswer(answer{refusal: e}), now)
	if !ok {
		t.Fatal("decoding an encoded refusal: got false, want true")
	}
	if !bytes.Equal(back.refusal.Encode(), e.Encode()) || !back.refusal.RetryAt.Equal(e.RetryAt) || back.refusal.Class != graph.ClassToken {
		t.Errorf("the refusal: got %s, want %s; RetryAt: got %v, want %v; Class: got %s, want %s", back.refusal.Encode(), e.Encode(), back.refusal.RetryAt, e.RetryAt, back.refusal.Class, graph.ClassToken)
	}
	tok, _ := graph.ReadToken([]byte(`{"access_token":"t","expires_in":60,"user_id":1}`), now)
	encoded := encodeAnswer(answer{token: tok})
	if back, ok = decodeAnswer(encoded, now.Add(30*time.Second)); !ok || !back.token.Expires.Equal(tok.Expires) {
		t.Errorf("got a token that expires at %v, want %v; decoded: %v, want true", back.token.Expires, tok.Expires, ok)
	}
	if _, ok = decodeAnswer(encoded, now.Add(60*time.Second)); ok {
		t.Error("decoding an expired token: got true, want false")
	}
}

// Five texts of 2 KiB each would need as much memory as dozens of tokens.
func TestALongRefusalKeepsNoTextButItsMessageInTheCache(t *testing.T) {
	long := strings.Repeat("x", 2<<10)
	e := &graph.Error{Status: 400, Message: long, Type: long, Code: 190, Subcode: 463, UserTitle: long, UserMsg: long, TraceID: long, Class: graph.ClassToken}
	encoded := encodeAnswer(answer{refusal: e})
	back, ok := decodeAnswer(encoded, time.Now())
	want := &graph.Error{Status: 400, Message: long, Type: "OAuthException", Code: 190, Subcode: 463}
	if !ok || len(encoded) > 3<<10 || !bytes.Equal(back.refusal.Encode(), want.Encode()) {
		t.Errorf("got %d bytes, want at most 3 KiB; decoded: %v, want true; the refusal is %.300s, want %.300s", len(encoded), ok, back.refusal.Encode(), want.Encode())
	}
	if e.UserMsg != long {
		t.Errorf("the refusal that the current caller gets: UserMsg has %d bytes, want %d", len(e.UserMsg), len(long))
	}
}

// FuzzRememberedAnswer checks that no bytes in the cache cause a panic.
func FuzzRememberedAnswer(f *testing.F) {
	tok, _ := graph.ReadToken([]byte(`{"access_token":"t","expires_in":60}`), time.Now())
	f.Add(encodeAnswer(answer{token: tok}))
	f.Add(encodeAnswer(answer{refusal: &graph.Error{Status: 400, Code: 190}}))
	f.Add([]byte{tokenKind})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, ok := decodeAnswer(b, time.Unix(0, 0)); ok && a.refusal == nil {
			_ = bodyOf(a.token, time.Unix(0, 0))
		}
	})
}
