package listener

import (
	"bufio"
	"container/heap"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	return c
}

// Regression: the response to a header that was too large was lost in a reset, because the
// connections of the bounded listener hid CloseWrite from net/http.
func TestA431ArrivesInFullThroughABoundedListener(t *testing.T) {
	l := loopback(t)
	server := &http.Server{MaxHeaderBytes: 4 << 10, Handler: http.NotFoundHandler()}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(newBound(l, newConnections(4, 0))) }() // ends with server.Close
	defer func() { _ = server.Close(); <-served }()
	c := dial(t, l)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("a", 256<<10)+"\r\n\r\n")
	}()
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("no response: %v", err)
	}
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("got %d %q (error: %v), want 431 with a complete body", res.StatusCode, body, err)
	}
	_ = c.Close()
	<-sent
}

// accepting accepts in the background until the bound is closed.
func accepting(t *testing.T, b *bound) <-chan *conn {
	t.Helper()
	accepted := make(chan *conn)
	ended, stop := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := b.Accept()
			if err != nil {
				return
			}
			select {
			case accepted <- c.(*conn):
			case <-stop:
				_ = c.Close()
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); _ = b.Close(); <-ended }) // b.Close ends an Accept that waits
	return accepted
}

// pair holds both ends of a connection.
type pair struct {
	client net.Conn
	server *conn
}

func next(t *testing.T, b *bound, accepted <-chan *conn) pair {
	t.Helper()
	client := dial(t, b)
	select {
	case c := <-accepted:
		t.Cleanup(func() { _ = c.Close() })
		return pair{client, c}
	case <-time.After(10 * time.Second):
		t.Fatal("the connection was not accepted within 10s")
		return pair{}
	}
}

// nextHalf accepts a connection on which half of a header has arrived.
func nextHalf(t *testing.T, b *bound, accepted <-chan *conn) pair {
	t.Helper()
	p := next(t, b, accepted)
	_, _ = io.WriteString(p.client, "G")
	if _, err := io.ReadFull(p.server, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return p
}

// nextBusy accepts a connection with a request that a handler works on.
func nextBusy(t *testing.T, b *bound, accepted <-chan *conn) pair {
	t.Helper()
	p := nextHalf(t, b, accepted)
	if !p.server.begin(false) {
		t.Fatal("the connection was closed")
	}
	return p
}

// nextIdle accepts a connection on which nothing has happened since a response at the given time.
func nextIdle(t *testing.T, b *bound, accepted <-chan *conn, since time.Time) pair {
	t.Helper()
	p := nextBusy(t, b, accepted)
	p.server.idleSince(since)
	return p
}

// idleSince ends the request in progress, as if at the given time.
func (c *conn) idleSince(since time.Time) {
	c.end()
	c.open.mu.Lock()
	defer c.open.mu.Unlock()
	c.state.Store(since.UnixNano())
	c.key = since.UnixNano()
	heap.Init(&c.open.all) // because the key may have become smaller, which happens only in tests
}

// isClosed reports whether the bound closed the server's end.
func (p pair) isClosed() bool {
	_ = p.server.Conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := p.server.Conn.Read(make([]byte, 1))
	return errors.Is(err, net.ErrClosed)
}

func noneIsAccepted(t *testing.T, accepted <-chan *conn) {
	t.Helper()
	select {
	case <-accepted:
		t.Error("at the limit: got a further connection accepted, want it to wait")
	case <-time.After(100 * time.Millisecond):
	}
}

func TestFullListenerWaitsUntilAConnectionIsClosed(t *testing.T) {
	b := newBound(loopback(t), newConnections(2, 0))
	accepted := accepting(t, b)
	first := nextBusy(t, b, accepted)
	nextBusy(t, b, accepted)
	dial(t, b)
	dial(t, b)
	noneIsAccepted(t, accepted)
	_ = first.server.Close()
	_ = first.server.Close() // closing it twice makes room for one connection, not two
	c := <-accepted
	defer c.Close()
	c.begin(false)
	noneIsAccepted(t, accepted)
}

func TestFullListenerWaitsUntilAConnectionHasBeenIdleForAMoment(t *testing.T) {
	b := newBound(loopback(t), newConnections(1, 0))
	accepted := accepting(t, b)
	first := nextBusy(t, b, accepted)
	dial(t, b)
	noneIsAccepted(t, accepted)
	since := time.Now()
	first.server.idleSince(since)
	_ = (<-accepted).Close()
	if !first.isClosed() {
		t.Error("the idle connection: got it open, want it closed")
	}
	if took := time.Since(since); took < moment {
		t.Errorf("the idle connection was closed after %s, want at least %s: its response may still be in a buffer", took, moment)
	}
}

func TestLongestIdleConnectionIsClosedFirst(t *testing.T) {
	b := newBound(loopback(t), newConnections(3, 0))
	accepted := accepting(t, b)
	working := nextBusy(t, b, accepted)
	lately, longest := nextIdle(t, b, accepted, time.Unix(2000, 0)), nextIdle(t, b, accepted, time.Unix(1000, 0))
	for _, want := range [][3]bool{{false, false, true}, {false, true, true}} {
		nextBusy(t, b, accepted)
		if got := [3]bool{working.isClosed(), lately.isClosed(), longest.isClosed()}; got != want {
			t.Errorf("closed connections (working, lately, longest): got %v, want %v", got, want)
		}
	}
	dial(t, b)
	noneIsAccepted(t, accepted)
}

// The state of a connection changes without a lock. So the order in which connections would be
// closed may be outdated.
func TestARecentlyUsedConnectionIsNotClosedAsTheLongestIdle(t *testing.T) {
	b := newBound(loopback(t), newConnections(2, 0))
	accepted := accepting(t, b)
	used, unused := nextIdle(t, b, accepted, time.Unix(1000, 0)), nextIdle(t, b, accepted, time.Unix(2000, 0))
	used.server.state.Store(time.Unix(3000, 0).UnixNano())
	nextBusy(t, b, accepted)
	if got, want := [2]bool{used.isClosed(), unused.isClosed()}, [2]bool{false, true}; got != want {
		t.Errorf("closed connections (used, unused): got %v, want %v", got, want)
	}
}

func TestConnectionsWithIncompleteHeadersAreClosedBeforeIdleOnes(t *testing.T) {
	b := newBound(loopback(t), newConnections(5, 0))
	accepted := accepting(t, b)
	working, idle := nextBusy(t, b, accepted), nextIdle(t, b, accepted, time.Unix(1000, 0))
	half, fresh := nextHalf(t, b, accepted), next(t, b, accepted)
	keptHalf := nextIdle(t, b, accepted, time.Now())
	_, _ = io.WriteString(keptHalf.client, "GET /")
	_, _ = io.ReadFull(keptHalf.server, make([]byte, 5))
	keptHalf.server.open.list(keptHalf.server) // the server's next Read would do this, and then wait for more bytes
	for _, want := range [][5]bool{
		{false, false, true, false, false},
		{false, false, true, true, false},
		{false, false, true, true, true},
		{false, true, true, true, true},
	} {
		nextBusy(t, b, accepted)
		if got := [5]bool{working.isClosed(), idle.isClosed(), half.isClosed(), fresh.isClosed(), keptHalf.isClosed()}; got != want {
			t.Errorf("closed connections (working, idle, half, fresh, keptHalf): got %v, want %v", got, want)
		}
	}
	dial(t, b)
	noneIsAccepted(t, accepted)
}

func TestAFloodOfConnectionsClosesFewIdleConnections(t *testing.T) {
	const limit = 32
	b := newBound(loopback(t), newConnections(limit, 0))
	accepted := accepting(t, b)
	var idle [limit / 2]pair
	for i := range idle {
		idle[i] = nextIdle(t, b, accepted, time.Unix(1000, 0))
	}
	for range 10 * limit {
		next(t, b, accepted)
	}
	// The first few connections of a flood cannot be distinguished from a burst of new clients.
	closed := 0
	for _, p := range idle {
		if p.isClosed() {
			closed++
		}
	}
	if most := limit / 8; closed > most {
		t.Errorf("%d of %d idle connections were closed, want at most %d", closed, len(idle), most)
	}
}

func TestTheAddressWithMostIncompleteHeadersLosesAConnection(t *testing.T) {
	client := func(address string) (p netip.Prefix) {
		if address != "" {
			p = netip.MustParsePrefix(address)
		}
		return p
	}
	for name, c := range map[string]struct {
		addresses []string // in the order in which they connected
		want      int      // the index in addresses of the connection to close
	}{
		"only a load balancer":                         {[]string{"192.0.2.1/32", "192.0.2.1/32", "192.0.2.1/32"}, 0},
		"only clients on this machine":                 {[]string{"", "", ""}, 0},
		"two machines, the second with two headers":    {[]string{"192.0.2.1/32", "192.0.2.2/32", "192.0.2.2/32"}, 1},
		"clients on this machine, and another machine": {[]string{"", "", "", "192.0.2.2/32", "192.0.2.2/32"}, 3},
		"many machines, each with one header":          {[]string{"", "192.0.2.1/32", "192.0.2.2/32", "192.0.2.3/32"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newConnections(9, 0)
			var all []*conn
			for _, address := range c.addresses {
				all = append(all, &conn{open: s, address: client(address)})
				s.add(all[len(all)-1])
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			got, _ := s.oldestIncomplete(time.Now().UnixNano())
			if got != all[c.want] {
				t.Errorf("got connection %d, want %d", slices.Index(all, got), c.want)
			}
		})
	}
}

func TestAddressOfReturnsTheNetworkOfOneClient(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"127.0.0.1": "invalid Prefix", "::1": "invalid Prefix",
	} {
		if got := addressOf(remote{&net.TCPAddr{IP: net.ParseIP(address)}}).String(); got != want {
			t.Errorf("%s: got %s, want %s", address, got, want)
		}
	}
	if got := addressOf(remote{&net.UnixAddr{}}); got.IsValid() {
		t.Errorf("a Unix socket: got %s, want the zero Prefix", got)
	}
}

// remote is a connection that has only a remote address.
type remote struct{ net.Addr }

func (r remote) RemoteAddr() net.Addr             { return r.Addr }
func (remote) Read([]byte) (int, error)           { return 0, io.EOF }
func (remote) Write(p []byte) (int, error)        { return len(p), nil }
func (remote) Close() error                       { return nil }
func (remote) LocalAddr() net.Addr                { return nil }
func (remote) SetDeadline(time.Time) error        { return nil }
func (remote) SetReadDeadline(time.Time) error    { return nil }
func (remote) SetWriteDeadline(t time.Time) error { return nil }

// Regression: a kept connection was closed although a request had arrived on it.
func TestConnectionWithUnreadBytesIsNotClosedToMakeRoom(t *testing.T) {
	b := newBound(loopback(t), newConnections(1, 0))
	accepted := accepting(t, b)
	first := nextIdle(t, b, accepted, time.Unix(1000, 0))
	_, _ = io.WriteString(first.client, "GET / HTTP/1.1\r\n\r\n")
	eventually(t, "the request has arrived", func() bool { return unread(first.server.Conn) })
	dial(t, b)
	noneIsAccepted(t, accepted)
	if first.isClosed() {
		t.Error("the connection with unread bytes: got it closed, want it open")
	}
}

// A connection that waits for room when a drain begins is served, even beyond the limit.
func TestADrainServesAConnectionThatWaitsForRoom(t *testing.T) {
	b := newBound(loopback(t), newConnections(1, 0))
	accepted := accepting(t, b)
	nextBusy(t, b, accepted)
	dial(t, b)
	noneIsAccepted(t, accepted)
	_ = b.Close()
	select {
	case c := <-accepted:
		_ = c.Close()
	case <-time.After(10 * time.Second):
		t.Error("within 10s of Close: got no connection accepted, want the one that was waiting")
	}
}

// short is a listener whose Accept fails for lack of file descriptors while out is set.
type short struct {
	net.Listener
	out bool
}

func (l *short) Accept() (net.Conn, error) {
	if l.out {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// Regression: idle connections from igproxy to Instagram held the last file descriptors for 90 s.
// No app could connect in that time.
func TestAcceptFreesDescriptorsIfNoneAreLeft(t *testing.T) {
	l := &short{Listener: loopback(t), out: true}
	b := newBound(l, newConnections(4, 0))
	if _, err := b.Accept(); !errors.Is(err, syscall.EMFILE) {
		t.Errorf("with nothing to close: got %v, want EMFILE", err)
	}
	b.relieve = func() { l.out = false }
	dial(t, l)
	c, err := b.Accept()
	if err != nil {
		t.Fatalf("after other connections were closed: Accept failed: %v", err)
	}
	_ = c.Close()
}
