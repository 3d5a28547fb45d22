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
	// dialTimeout bounds the dialling of one connection. It leaves time for a lost SYN to be sent again,
	// which TCP does after a second. No caller waits for it: the library dials in a goroutine, and a
	// connection that comes too late for one caller serves the next.
	dialTimeout = 3 * time.Second

	// newborn is the age below which a failed connection says more about a busy machine than about the
	// network.
	newborn = 500 * time.Millisecond

	// longWait is the time after which a missing reply is taken to be lost.
	longWait = 500 * time.Millisecond

	// longIdle is the idle time from which on a connection may have been cut. Few limits are below a minute.
	longIdle = 20 * time.Second

	// mostLingering bounds the replaced clients that stay open for the operations in flight on them.
	mostLingering = 2
)

// client is a client of the library and what is known about its connections.
//
// A firewall, a NAT or a managed Redis drops idle connections and tells neither end. The library takes the
// dead connections out of its pool one at a time, and each costs its caller a timeout. So when one of them
// is found to be dead, the whole client is replaced by one that dials again.
type client struct {
	redis.UniversalClient
	silent atomic.Bool // a connection that had worked got no reply
	cut    atomic.Bool // the same, after it was idle for longIdle, or for longWait: it is dead
}

// dialer replaces the library's own dialer. It differs in three points: the TLS handshake ends with the
// context, TCP probes an idle connection every 15 s instead of 30 s, and each connection is watched.
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
	asked  atomic.Int64 // when bytes were last sent, in nanoseconds after born
	heard  atomic.Int64 // when bytes last came, likewise; zero: never
	idle   time.Duration
	closer *time.Timer // runs while nothing is read
	guard  guard       // used by Read only
}

// watch wraps a connection. The library checks the socket of a plain connection before each use, so the
// wrapper has to expose it.
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

// reason returns the TLS alert that explains a failed write, or err if there is none. In TLS 1.3 the server
// refuses a client certificate after the handshake; the write fails before anybody has read the alert.
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

// failed records an error of a connection that had worked. One that never got a reply says nothing about
// the others.
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

// distrust is called after a fault. It replaces the client if others of its connections are likely to be
// dead or out of step, and reports whether the client has been replaced, now or before. While the gate is
// open no operation uses them, so one silent connection is reason enough.
func (t *redisTier) distrust(c *client, kind string) (replaced bool) {
	if kind == kindDesync || c.cut.Load() || c.silent.Load() && !t.gate.allow() {
		t.replace(c)
	}
	return t.client.Load() != c
}

// replace makes all later operations use new connections. Operations in flight on the old client keep their
// budget. A new client is not replaced before a connection of its own has worked and then failed, so a Redis
// that is slow or hangs is not dialled again and again.
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
