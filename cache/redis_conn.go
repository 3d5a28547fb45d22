package cache

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// dialTimeout bounds the dialling of one connection, so that a lost SYN costs its retransmission after
	// a second, and not the connection. No caller waits for it: the library dials in a goroutine, and what
	// is dialled too late for one caller serves the next.
	dialTimeout = 3 * time.Second

	// What fails sooner after it was dialled says more about a busy machine than about the network.
	newborn = 500 * time.Millisecond

	// An answer that was waited for so long will not come.
	longWait = 500 * time.Millisecond

	// longIdle is the shortest time after which idle connections are cut, with some room.
	longIdle = 20 * time.Second

	// mostLingering bounds the clients that were replaced and not closed yet.
	mostLingering = 2
)

// client is one client of the library and what its connections have shown.
//
// A firewall, a NAT or a managed Redis drops idle connections and says nothing. The library then takes them
// out of its pool one after another, and each costs its caller a timeout. One that falls silent is therefore
// the end of all: the client is replaced by one that dials again.
type client struct {
	redis.UniversalClient
	silent atomic.Bool // a connection that had worked brought no answer
	cut    atomic.Bool // and it was idle for long before, or the answer overdue: it is dead
}

// dialer is the library's own, but for three things: its TLS handshake ends with its context, connections
// are probed more often by TCP, and each one is watched.
func (c *client) dialer(config *tls.Config, idle time.Duration) func(context.Context, string, string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	dial := plain.DialContext
	if config != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: config}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return c.watch(raw, idle), nil
	}
}

// watched is a connection that tells its client when it falls silent, and closes itself when it has been
// idle for too long: the library does not use such a connection either, but leaves it open. It refuses
// replies that are too large.
type watched struct {
	net.Conn
	of     *client
	born   time.Time
	asked  atomic.Int64 // when something was last sent, counted from born
	heard  atomic.Int64 // when something last came; zero: nothing did
	idle   time.Duration
	closer *time.Timer // runs while nothing is read
	guard  guard       // of who reads
}

// watch returns raw, watched. What the library finds out about the socket of a plain connection before it
// uses it, it still finds out.
func (c *client) watch(raw net.Conn, idle time.Duration) net.Conn {
	w := &watched{Conn: raw, of: c, born: time.Now(), idle: idle + time.Second} // the library stops using it first
	w.closer = time.AfterFunc(w.idle, func() { _ = raw.Close() })
	if socket, ok := raw.(syscall.Conn); ok {
		return struct {
			*watched
			syscall.Conn
		}{w, socket}
	}
	return w
}

func (w *watched) Read(b []byte) (int, error) {
	if w.guard.refuses() { // the library passes over an error while it looks for a push message
		return 0, errDesync
	}
	w.closer.Stop()
	n, err := w.Conn.Read(b)
	if n > 0 {
		w.heard.Store(int64(max(time.Since(w.born), 1)))
	}
	switch w.guard.follow(b[:n]); {
	case w.guard.refuses():
		return 0, errDesync
	case err == nil:
		w.closer.Reset(w.idle)
	default:
		w.failed(err)
	}
	return n, err
}

func (w *watched) Write(b []byte) (int, error) {
	w.asked.Store(int64(time.Since(w.born)))
	n, err := w.Conn.Write(b)
	if err != nil {
		w.failed(err)
		err = w.reason(err)
	}
	return n, err
}

// reason is the alert by which a TLS server explained that it hung up, if there is one: a refusal of the
// client's certificate comes after the handshake, and writing fails before it is read.
func (w *watched) reason(err error) error {
	if secure, ok := w.Conn.(*tls.Conn); ok && kindOf(err) == kindBroken { // so reading does not wait
		if _, why := secure.Read(make([]byte, 1)); kindOf(why) == kindTLS {
			return why
		}
	}
	return err
}

func (w *watched) Close() error {
	w.closer.Stop()
	return w.Conn.Close()
}

// failed notes an error of a connection that had worked. What never answered says nothing about the others.
func (w *watched) failed(err error) {
	age, asked, heard := time.Since(w.born), time.Duration(w.asked.Load()), time.Duration(w.heard.Load())
	if heard == 0 || age < newborn || errors.Is(err, net.ErrClosed) {
		return
	}
	w.of.silent.Store(true)
	if asked-heard >= longIdle || age-asked >= longWait {
		w.of.cut.Store(true)
	}
}

// distrust replaces a client after a fault if the fault shows that others of its connections are dead, or
// give answers to other questions, and reports whether it has a successor. While the gate is open nobody
// uses them, so less has to be shown.
func (t *redisTier) distrust(c *client, kind string) (replaced bool) {
	if kind == kindDesync || c.cut.Load() || c.silent.Load() && !t.gate.allow() {
		t.replace(c)
	}
	return t.client.Load() != c
}

// replace makes all that is asked from now on use new connections. Operations in flight on the old ones may
// end within their budget. A new client is not replaced before a connection of its own has worked and then
// failed, so a Redis that is slow or hangs is not dialled more often for it.
func (t *redisTier) replace(old *client) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.client.Load() != old {
		return
	}
	fresh, err := newClient(t.options)
	if err != nil { // it was built from the same options before
		return
	}
	t.client.Store(fresh)
	grace := t.options.StoreTimeout
	if t.lingering++; t.lingering > mostLingering {
		grace = 0
	}
	t.retiring.Go(func() { // ends with the grace, or when the gate is closed for good
		wait := time.NewTimer(grace)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-t.gate.stopped.Done():
		}
		_ = old.Close()
		t.mu.Lock()
		t.lingering--
		t.mu.Unlock()
	})
}
