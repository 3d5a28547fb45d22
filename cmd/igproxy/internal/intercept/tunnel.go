package intercept

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// TunnelOptions configure the connections that are passed on unread.
type TunnelOptions struct {
	// MaxTunnels limits the number of tunnels that are open or being opened at once. Zero: no
	// tunnel is opened.
	MaxTunnels int
	// IdleTimeout ends a tunnel through which nothing has passed for this long. It must be above
	// zero if MaxTunnels is above zero.
	IdleTimeout time.Duration
}

// tunnels has the open tunnels, and what is needed to open another.
type tunnels struct {
	slots    chan struct{} // has an item for each tunnel that is open or being opened
	idle     time.Duration
	dialer   *net.Dialer
	dial     func(ctx context.Context, network, address string) (net.Conn, error) // dialer.DialContext, except in tests
	allowed  func(netip.Addr) bool                                                // isPublic, except in tests
	own      func() ([]net.Addr, error)                                           // net.InterfaceAddrs, except in tests
	draining atomic.Bool                                                          // Shutdown or Close has been called

	mu      sync.Mutex        // protects ends and closed; while begin holds it, no drain can start
	ends    map[net.Conn]bool // the two connections of each open tunnel
	closed  bool              // Close has been called
	running sync.WaitGroup    // counts the tunnels for which Shutdown waits
}

const (
	// dialTimeout bounds how long it takes to resolve the name of a host and to connect to it.
	dialTimeout = 10 * time.Second
	// drainIdle is the longest idle timeout during a drain. It also bounds the time between two
	// checks of how long a tunnel has been idle.
	drainIdle = time.Second
)

func newTunnels(o TunnelOptions) *tunnels {
	t := &tunnels{slots: make(chan struct{}, o.MaxTunnels), idle: o.IdleTimeout, allowed: isPublic, own: net.InterfaceAddrs,
		ends: map[net.Conn]bool{}}
	t.dialer = &net.Dialer{Timeout: dialTimeout, Control: t.onlyPublic}
	t.dial = t.dialer.DialContext
	return t
}

// Tunnels returns the number of tunnels that are open or being opened.
func (h *Handler) Tunnels() int { return len(h.tunnels.slots) }

// tunnel connects the client to a host, and passes bytes on until both sides have ended their
// streams, one of the connections fails, or nothing has passed for the idle timeout.
func (h *Handler) tunnel(w http.ResponseWriter, r *http.Request, host string) {
	t := h.tunnels
	select {
	case t.slots <- struct{}{}:
	default:
		w.Header().Set("Retry-After", "1")
		h.refuse(w, host, "other", http.StatusServiceUnavailable, Busy, "Too many tunnels at once. Retry later, or raise intercept.max_tunnels.")
		return
	}
	defer func() { <-t.slots }()
	out, err := t.dial(r.Context(), "tcp", net.JoinHostPort(host, "443"))
	switch {
	case errors.Is(err, errNotPublic):
		h.refuse(w, host, "other", http.StatusForbidden, Refused, "igproxy opens no tunnels to addresses of this machine or of private networks. List this host in NO_PROXY.")
		return
	case err != nil:
		h.refuse(w, host, "other", http.StatusBadGateway, Failed, "The host could not be reached.")
		return
	}
	if !t.begin() {
		_ = out.Close()
		w.Header().Set("Retry-After", "1")
		h.refuse(w, host, "other", http.StatusServiceUnavailable, Busy, "igproxy is stopping. Retry later.")
		return
	}
	t.register(out)
	defer func() { t.unregister(out); t.running.Done() }()
	in, ok := h.hijack(w)
	if !ok {
		return
	}
	h.options.Count("other", Tunnelled)
	h.options.Release(in.Conn)
	t.register(in)
	defer t.unregister(in)
	t.join(in, out)
}

// begin counts a tunnel, so that Shutdown waits for it. It reports false if Shutdown or Close has
// been called.
func (t *tunnels) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.draining.Load() {
		return false
	}
	t.running.Add(1)
	return true
}

// register records a connection of a tunnel, so that Close closes it. If Close has been called
// already, register closes the connection at once.
func (t *tunnels) register(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ends[c] = true
	if t.closed {
		_ = c.Close()
	}
}

// unregister closes a connection of a tunnel, and removes it from ends.
func (t *tunnels) unregister(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = c.Close()
	delete(t.ends, c)
}

// join passes bytes on in both directions until both have ended.
func (t *tunnels) join(a, b net.Conn) {
	last := &lastByte{start: time.Now()}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			if t.copy(way[1], way[0], last) {
				if half, ok := way[1].(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
					return // the other direction continues
				}
			}
			_ = a.Close()
			_ = b.Close()
		})
	}
	both.Wait()
}

// lastByte is the time at which a byte last passed through a tunnel. It uses the monotonic clock,
// so a change of the machine's time does not affect it.
type lastByte struct {
	start time.Time
	after atomic.Int64 // nanoseconds since start
}

func (l *lastByte) passed()             { l.after.Store(int64(time.Since(l.start))) }
func (l *lastByte) idle() time.Duration { return time.Since(l.start) - time.Duration(l.after.Load()) }

// copy passes bytes on in one direction. It reports whether the sender has ended its stream.
func (t *tunnels) copy(to, from net.Conn, last *lastByte) bool {
	buffer := make([]byte, 16<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(t.untilLook())) // if this fails, the read fails too
		n, err := from.Read(buffer)
		if n > 0 {
			last.passed()
			_ = to.SetWriteDeadline(time.Now().Add(t.idle))
			if _, err := to.Write(buffer[:n]); err != nil {
				return false
			}
			last.passed()
		}
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && last.idle() < t.idleNow():
		case errors.Is(err, io.EOF):
			return true
		case err != nil:
			return false
		}
	}
}

// idleNow returns the current idle timeout.
func (t *tunnels) idleNow() time.Duration {
	if t.draining.Load() {
		return min(t.idle, drainIdle)
	}
	return t.idle
}

// untilLook returns how long a read may wait before the idle time is checked again. By then, a
// drain may have shortened the idle timeout, or a byte may have passed in the other direction.
func (t *tunnels) untilLook() time.Duration { return min(t.idle, drainIdle) }

// Shutdown ends each tunnel once it has been idle for a second. When ctx ends, Shutdown ends the
// remaining tunnels, and returns the error of ctx. A CONNECT that needs a new tunnel gets a 503, so
// close the listener of CONNECT requests first.
func (h *Handler) Shutdown(ctx context.Context) error {
	t := h.tunnels
	t.mu.Lock()
	t.draining.Store(true)
	t.mu.Unlock()
	done := make(chan struct{})
	go func() { t.running.Wait(); close(done) }() // ends when all tunnels have ended
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	h.Close()
	<-done
	return err
}

// Close ends all tunnels at once, and refuses new tunnels.
func (h *Handler) Close() {
	t := h.tunnels
	t.mu.Lock()
	defer t.mu.Unlock()
	t.draining.Store(true)
	t.closed = true
	for c := range t.ends {
		_ = c.Close()
	}
}
