package proxy

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
)

// nameServer starts a name server and returns a resolver that uses it. The parameter drop is the
// number of queries, from the first on, that the server ignores. The server answers later
// queries with 127.0.0.1 while exists is true, and with "no such name" while exists is false.
func nameServer(t *testing.T, exists *atomic.Bool, drop int) *net.Resolver {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = c.Close(); <-done })
	go func() { // ends with its socket
		defer close(done)
		query := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(query)
			if err != nil {
				return
			}
			if drop > 0 {
				drop--
				continue
			}
			_, _ = c.WriteTo(nameReply(query[:n], exists.Load()), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

// nameReply returns a reply (RFC 1035 section 4.1): a header of 12 bytes, the question, and, if the
// name exists and the question has type A, one answer.
func nameReply(query []byte, exists bool) []byte {
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	question := query[12 : end+5] // the last 5 bytes are the root label, the type and the class
	isA := query[end+2] == 1
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question...)
	switch {
	case !exists:
		reply[3] |= 3 // no such name
	case isA:
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1) // TTL 0
	}
	return reply
}

// withoutProxy makes p ignore HTTPS_PROXY and the related variables, because a forward proxy would
// resolve the name itself.
func withoutProxy(p *Proxy) {
	out := p.current.Load().out
	out.kept.Proxy, out.single.Proxy = nil, nil
}

func TestANameIsResolvedAgainAfterAFailure(t *testing.T) {
	base, asked := saying(t, rawResponse(200, goodToken))
	_, port, _ := strings.Cut(strings.TrimPrefix(base, "http://"), ":")
	var exists atomic.Bool
	o := optionsFor(t, "http://instagram.example:"+port, nil)
	var log strings.Builder
	o.Logger = textLogger(&log)
	p := newProxy(t, o)
	withoutProxy(p)
	p.current.Load().out.dialer.Resolver = nameServer(t, &exists, 0)
	w := ask(p, get(target("IGAAshort")))
	if e := errorIn(t, w.Body.Bytes()); w.Code != 503 || e.Subcode != 990023 || w.Header().Get("Retry-After") == "" || !strings.Contains(log.String(), "resolve") {
		t.Errorf("while the name does not exist: got status %d, subcode %d and Retry-After %q, want 503, 990023 and any Retry-After; want \"resolve\" in the log:\n%s", w.Code, e.Subcode, w.Header().Get("Retry-After"), log.String())
	}
	exists.Store(true)
	if w := ask(p, get(target("IGAAshort"))); w.Code != 200 || asked.Load() != 1 {
		t.Errorf("after the name was added: got %d after %d calls, want 200 after 1", w.Code, asked.Load())
	}
}

// A lost DNS query only delays the call, until the resolver repeats the query (after 5 s by
// default, see resolv.conf(5)).
func TestLostDNSQueryOnlyDelaysTheCall(t *testing.T) {
	t.Parallel() // because this test waits for the resolver
	base, asked := saying(t, rawResponse(200, goodToken))
	_, port, _ := strings.Cut(strings.TrimPrefix(base, "http://"), ":")
	var exists atomic.Bool
	exists.Store(true)
	p := newProxy(t, optionsFor(t, "http://instagram.example:"+port, nil))
	withoutProxy(p)
	p.current.Load().out.dialer.Resolver = nameServer(t, &exists, 2) // it drops the queries for A and AAAA
	if w := ask(p, get(target("IGAAshort"))); w.Code != 200 || asked.Load() != 1 {
		t.Errorf("got %d %s after %d calls, want 200 after 1", w.Code, w.Body, asked.Load())
	}
}
