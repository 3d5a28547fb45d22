package integration

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay forwards TCP connections between a client and a server. It can make them die silently, as a
// firewall or a NAT device does:
//
//	r := newRelay(t, server)     // clients connect to r.addr
//	r.freeze()                   // kills the existing connections silently; new ones work
//	r.hold(5 * time.Millisecond) // delays what the server sends
//	r.count()                    // number of connections that are neither closed nor frozen
type relay struct {
	addr    string
	target  string
	net     net.Listener
	running sync.WaitGroup

	mu    sync.Mutex        // protects the fields below
	delay time.Duration     // of what the server sends
	links map[*relayed]bool // the open connections, including the frozen ones
	ended bool              // set by close
}

// relayed is one connection through a relay.
type relayed struct {
	client, server net.Conn

	mu     sync.Mutex // held while bytes are forwarded, so that no bytes pass after freeze
	frozen bool
}

// newRelay starts a relay to an address (host:port). The relay ends with the test.
func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), target: target, net: l, links: map[*relayed]bool{}}
	r.running.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

// freeze kills all existing connections silently. Both ends can still send, but receive no bytes,
// no FIN and no reset.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.links {
		l.mu.Lock()
		l.frozen = true
		l.mu.Unlock()
	}
}

// hold delays everything that the server sends by d.
func (r *relay) hold(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = d
}

func (r *relay) latency() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.delay
}

// count returns the number of connections that forward bytes.
func (r *relay) count() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.links {
		if !l.dead() {
			n++
		}
	}
	return n
}

func (r *relay) accept() { // ends with the listener
	for {
		client, err := r.net.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		l := &relayed{client: client, server: server}
		r.mu.Lock()
		if r.ended {
			l.close()
		} else {
			r.links[l] = true
		}
		r.mu.Unlock()
		r.running.Go(func() {
			var halves sync.WaitGroup
			halves.Go(func() { l.pass(server, client, func() time.Duration { return 0 }) })
			halves.Go(func() { l.pass(client, server, r.latency) })
			halves.Wait()
			if l.dead() { // both ends stay open until the test ends
				return
			}
			l.close()
			r.mu.Lock()
			delete(r.links, l)
			r.mu.Unlock()
		})
	}
}

// pass copies one direction. It forwards the end of the stream, and closes both directions on an
// error.
func (l *relayed) pass(to, from net.Conn, latency func() time.Duration) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		time.Sleep(latency())
		l.mu.Lock()
		if !l.frozen {
			if n > 0 {
				if _, wrong := to.Write(buffer[:n]); wrong != nil {
					err = wrong
				}
			}
			if half, ok := to.(*net.TCPConn); ok && err == io.EOF {
				_ = half.CloseWrite()
			} else if err != nil {
				l.close()
			}
		}
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (l *relayed) dead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.frozen
}

func (l *relayed) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

func (r *relay) close() {
	_ = r.net.Close()
	r.mu.Lock()
	r.ended = true
	for l := range r.links {
		l.close()
	}
	r.mu.Unlock()
	r.running.Wait()
}
