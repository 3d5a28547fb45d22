package integration

// In these tests Instagram is unreachable: its port is closed, or its name does not resolve. A cold
// token gets an error within upstream.timeout. When Instagram is back, igproxy calls it again
// without a restart.

import (
	"net"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/mock"
)

func TestExchangesFailOnlyWhileInstagramIsUnreachable(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	p := serve(t, "UPSTREAM_URL=http://"+addr, "UPSTREAM_TIMEOUT="+timeout.String(), "BREAKER_FAILURES=1", "BREAKER_OPEN=100ms")
	r := p.ask(t, "IGAA-1")
	if e := r.graphError(t); r.status != 503 || e.Code != 2 || e.Subcode != unreachable || !e.Transient || r.header.Get("Retry-After") == "" || r.took > timeout+noise {
		t.Errorf("got %d %+v after %s, want 503 and a transient error with code 2, subcode %d and Retry-After, within %s", r.status, e, r.took, unreachable, timeout+noise)
	}
	if p.breaker(t) == "closed" {
		t.Error("the breaker did not count the failure")
	}
	ig, _ := instagram(t, mock.ServerOptions{Addr: addr})
	eventually(t, "an exchange succeeds", func() bool { return p.ask(t, "IGAA-1").status == 200 })
	if n := ig.CallsFor("IGAA-1"); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// Names under .invalid never resolve (RFC 6761). A test from outside the process cannot make the
// name resolve later. Package proxy has a test with its own name server for this case.
func TestUnresolvableHostOfMetaCausesATransientError(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	p := serve(t, "UPSTREAM_URL=https://instagram.invalid", "UPSTREAM_TIMEOUT="+timeout.String(), "BREAKER_FAILURES=1")
	r := p.ask(t, "IGAA-1")
	e := r.graphError(t)
	unresolved := r.status == 503 && e.Subcode == unreachable
	if late := r.status == 504 && e.Subcode == tooLate; !unresolved && !late || e.Code != 2 || !e.Transient || r.took > timeout+noise {
		// A 504 is right on a machine without a name server, because there the resolver does not
		// answer in time.
		t.Errorf("got %d %+v after %s, want a transient error with code 2, either 503 with subcode %d or 504 with subcode %d, within %s", r.status, e, r.took, unreachable, tooLate, timeout+noise)
	}
	if p.breaker(t) == "closed" {
		t.Error("the breaker did not count the failure")
	}
}
