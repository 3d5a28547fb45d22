package integration

// The caller that started an exchange disconnects, but the exchange continues. Callers that joined
// the exchange get its answer, and later callers get that answer from the cache.

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestOtherCallersAreAnsweredIfTheFirstCallerDisconnects(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(500 * time.Millisecond)
	p := serve(t, "UPSTREAM_URL="+upstream.URL)

	first, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() { _, err := p.try(first, "IGAA-left"); left <- err }()
	eventually(t, "the exchange is in flight", func() bool { return ig.Calls() == 1 })
	joined := make(chan response, 1)
	go func() { r, _ := p.try(t.Context(), "IGAA-left"); joined <- r }()
	leave()
	if err := <-left; err == nil {
		t.Error("the first caller got an answer, want an error, because the caller disconnected")
	}
	if r := <-joined; r.status != 200 {
		t.Errorf("the caller that joined got %d %s, want 200", r.status, r.body)
	}
	if r := p.ask(t, "IGAA-left"); r.status != 200 || !strings.HasPrefix(r.header.Get("Cache-Status"), "igproxy; hit") {
		t.Errorf("a later caller got %d, want 200; Cache-Status: got %q, want a hit", r.status, r.header.Get("Cache-Status"))
	}
	if ig.Calls() != 1 {
		t.Errorf("Instagram was asked %d times, want once", ig.Calls())
	}
}

func TestAllCallersDisconnectAndTheAnswerIsKept(t *testing.T) {
	t.Parallel()
	ig, upstream := instagram(t, mock.ServerOptions{})
	ig.SetLatency(300 * time.Millisecond)
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	ctx, leave := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { crowd(5, func(int) { _, _ = p.try(ctx, "IGAA-kept") }); close(done) }()
	eventually(t, "the exchange is in flight", func() bool { return ig.Calls() == 1 })
	leave()
	<-done
	if r := p.ask(t, "IGAA-kept"); r.status != 200 || r.token() != ig.Issued("IGAA-kept")[0] {
		t.Errorf("status: got %d, want 200; token: got %s, want %s, which Meta issued", r.status, r.token(), ig.Issued("IGAA-kept")[0])
	}
	if ig.Calls() != 1 {
		t.Errorf("Instagram was asked %d times, want once", ig.Calls())
	}
}
