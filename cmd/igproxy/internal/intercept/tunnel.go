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
	// MaxTunnels bounds the tunnels that are open at once. Zero: there are none.
	MaxTunnels int
	// IdleTimeout ends a tunnel through which nothing has passed for this long.
	IdleTimeout time.Duration
}

// tunnels are the open tunnels.
type tunnels struct {
	slots    chan struct{}
	idle     time.Duration
	dialer   *net.Dialer
	allowed  func(netip.Addr) bool // isPublic, except in tests
	draining atomic.Bool

	mu      sync.Mutex // protects ends and closed
	ends    map[net.Conn]bool
	closed  bool
	running sync.WaitGroup
}

const (
	// dialTimeout bounds the connection to a host, and the resolution of its name.
	dialTimeout = 10 * time.Second
	// drainIdle replaces the idle timeout during a drain.
	drainIdle = time.Second
)

func newTunnels(o TunnelOptions) *tunnels {
	t := &tunnels{slots: make(chan struct{}, o.MaxTunnels), idle: o.IdleTimeout, allowed: isPublic, ends: map[net.Conn]bool{}}
	t.dialer = &net.Dialer{Timeout: dialTimeout, Control: t.onlyPublic}
	return t
}

// Tunnels returns the number of open tunnels.
func (h *Handler) Tunnels() int { return len(h.tunnels.slots) }

// tunnel connects the client with a host, and passes bytes on until one of them ends the connection
// or both are idle for too long.
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
	out, err := t.dialer.DialContext(r.Context(), "tcp", net.JoinHostPort(host, "443"))
	switch {
	case errors.Is(err, errNotPublic):
		h.refuse(w, host, "other", http.StatusForbidden, Refused, "igproxy opens no tunnels to addresses of this machine or of private networks. List this host in NO_PROXY.")
		return
	case err != nil:
		h.refuse(w, host, "other", http.StatusBadGateway, Failed, "The host could not be reached.")
		return
	}
	in, ok := h.hijack(w)
	if !ok {
		_ = out.Close()
		return
	}
	h.options.Count("other", Tunnelled)
	h.options.Release(in.Conn)
	if !t.add(in, out) {
		return
	}
	defer t.remove(in, out)
	t.join(in, out)
}

// add registers the two ends of a tunnel, so that Shutdown can close them. It reports false, and
// closes them itself, if Shutdown has ended.
func (t *tunnels) add(ends ...net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		for _, c := range ends {
			_ = c.Close()
		}
		return false
	}
	t.running.Add(1)
	for _, c := range ends {
		t.ends[c] = true
	}
	return true
}

func (t *tunnels) remove(ends ...net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range ends {
		_ = c.Close()
		delete(t.ends, c)
	}
	t.running.Done()
}

// join passes bytes on in both directions until both have ended.
func (t *tunnels) join(a, b net.Conn) {
	var last atomic.Int64 // when a byte last passed, in Unix nanoseconds
	last.Store(time.Now().UnixNano())
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			if t.copy(way[1], way[0], &last) {
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

// copy passes bytes on in one direction. It reports whether the sender has ended its stream.
func (t *tunnels) copy(to, from net.Conn, last *atomic.Int64) bool {
	buffer := make([]byte, 16<<10)
	for {
		_ = from.SetReadDeadline(time.Now().Add(t.untilLook())) // a failure shows in the read
		n, err := from.Read(buffer)
		if n > 0 {
			last.Store(time.Now().UnixNano())
			_ = to.SetWriteDeadline(time.Now().Add(t.idle))
			if _, err := to.Write(buffer[:n]); err != nil {
				return false
			}
			last.Store(time.Now().UnixNano())
		}
		var timeout net.Error
		switch {
		case errors.As(err, &timeout) && timeout.Timeout() && time.Since(time.Unix(0, last.Load())) < t.idleNow():
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

// untilLook returns how long a read may wait before the idle time is looked at again: a drain may
// shorten it, and the other direction may have prolonged it.
func (t *tunnels) untilLook() time.Duration { return min(t.idle, drainIdle) }

// Shutdown ends tunnels that are idle for a second, and all others when ctx ends. No tunnel is
// opened afterwards.
func (h *Handler) Shutdown(ctx context.Context) error {
	t := h.tunnels
	t.draining.Store(true)
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

// Close ends all tunnels at once.
func (h *Handler) Close() {
	t := h.tunnels
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for c := range t.ends {
		_ = c.Close()
	}
}
