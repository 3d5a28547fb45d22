package integration

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

// Browser tabs, repeated callbacks and retrying clients send the same token many times at once. For
// 200 such callers igproxy makes one call to Instagram, and all of them get the same answer.
func TestTwoHundredCallersCauseOneCall(t *testing.T) {
	t.Parallel()
	const callers = 200
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(300 * time.Millisecond)
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	var right, collapsed atomic.Int32
	crowd(callers, func(int) {
		r, err := p.try(t.Context(), "IGAA-burst")
		if err != nil {
			t.Error(err)
			return
		}
		if issued := ig.Issued("IGAA-burst"); r.status == 200 && len(issued) == 1 && r.token() == issued[0] {
			right.Add(1)
		}
		if r.header.Get("Cache-Status") == "igproxy; fwd=miss; collapsed" {
			collapsed.Add(1)
		}
	})
	if right.Load() != callers || ig.Calls() != 1 {
		t.Errorf("correct answers: got %d, want %d; calls to Instagram: got %d, want 1", right.Load(), callers, ig.Calls())
	}
	if collapsed.Load() == 0 {
		t.Error("answers with collapsed in Cache-Status: got 0, want at least 1")
	}
}

// 200 callers at once send 50 tokens, so four of them share each token. Each token costs one call,
// and every caller gets the long-lived token that was issued for its own short-lived token.
func TestConcurrentCallersGetTheAnswersForTheirOwnTokens(t *testing.T) {
	t.Parallel()
	const tokens, callers = 50, 4
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(50 * time.Millisecond)
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	crowd(tokens*callers, func(i int) {
		short := "IGAA-user-" + string(rune('A'+i%tokens))
		r, err := p.try(t.Context(), short)
		if err != nil {
			t.Error(err)
			return
		}
		if issued := ig.Issued(short); len(issued) != 1 || r.token() != issued[0] {
			t.Errorf("%s: Instagram issued %q, want exactly one token; a caller got %q, want that token", short, issued, r.token())
		}
	})
	if ig.Calls() != tokens {
		t.Errorf("calls to Instagram: got %d, want %d", ig.Calls(), tokens)
	}
}
