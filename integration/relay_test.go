package integration

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// relay is a stretch of network between a client and a server that speak any protocol over TCP. It passes bytes on until it is told
// otherwise, as a firewall or a NAT does that forgets a connection:
//
//	r := newRelay(t, server)     // clients connect to r.addr
//	r.freeze()                   // the connections of now are dead, and neither end is told; new ones work
//	r.hold(5 * time.Millisecond) // from now on, what the server sends comes so much later
//	r.count()                    // connections that are neither closed nor frozen
type relay struct {
	addr   string
	target string
	net    net.Listener
	ends   sync.WaitGroup

	mu    sync.Mutex // protects all below
	held  time.Duration
	links map[*relayed]bool
	ended bool
}

// relayed is one connection through a relay: its two halves.
type relayed struct {
	client, server net.Conn

	mu     sync.Mutex // held while bytes are passed on: after freeze none are
	frozen bool
}

// newRelay starts a relay to an address (host:port). It ends with the test.
func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{addr: l.Addr().String(), target: target, net: l, links: map[*relayed]bool{}}
	r.ends.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

// freeze makes every connection of now dead without a word: either end can send, and gets no byte, no FIN and no reset any more.
func (r *relay) freeze() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := range r.links {
		l.mu.Lock()
		l.frozen = true
		l.mu.Unlock()
	}
}

// hold delays what the server sends.
func (r *relay) hold(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = d
}

func (r *relay) latency() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// count is how many connections pass bytes on.
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
		r.ends.Go(func() {
			var halves sync.WaitGroup
			halves.Go(func() { l.pass(server, client, func() time.Duration { return 0 }) })
			halves.Go(func() { l.pass(client, server, r.latency) })
			halves.Wait()
			if l.dead() { // no end is told before the test's
				return
			}
			l.close()
			r.mu.Lock()
			delete(r.links, l)
			r.mu.Unlock()
		})
	}
}

// pass copies one direction. An end of the stream is passed on as one, an error as the end of both.
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
	r.ends.Wait()
}
