package listener

import (
	"context"
	"net"
	"sync"
	"time"
)

// net/http's Shutdown drops a request that it reads after it began: it hangs up without an answer, also on a connection it had accepted
// before. So nothing is left to be read when it is called. In order:
//
//  1. No connection is accepted any more. Who comes now waits in the socket's queue if systemd holds it, and is refused if not.
//  2. Idle connections end, and every answer says Connection: close.
//  3. Those that were accepted send their request and get its answer.
//  4. Shutdown waits for what takes longer, and for HTTP/2, which has a goodbye of its own.

// firstRequestTimeout is how long step 3 waits for requests; net/http gives a new connection as long.
const firstRequestTimeout = 5 * time.Second

// Shutdown ends the server without dropping a client that got in, within ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.door.stopAccepting(ctx)
	s.onShutdown()
	s.http.SetKeepAlivesEnabled(false)
	bounded, cancel := context.WithTimeout(ctx, firstRequestTimeout)
	defer cancel()
	_ = s.bound.waitUntilQuiet(bounded)
	if err := s.http.Shutdown(ctx); err != nil {
		return err
	}
	return s.bound.waitUntilQuiet(ctx) // net/http does not know of an answer that the lane still writes
}

// waitUntilQuiet waits until no connection is busy, or for the end of ctx.
func (b *bounded) waitUntilQuiet(ctx context.Context) error {
	for b.busy() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// busy reports whether a connection is neither idle nor gone.
func (b *bounded) busy() bool {
	if len(b.spare) > 0 {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for p := range b.open {
		if p.idle.Load() == 0 {
			return true
		}
	}
	return false
}

// door is a listener that can stop accepting while its server goes on: Accept then waits for Close.
type door struct {
	net.Listener
	lock         func() error  // closes the listener, once
	end          func()        // closes closed, once
	shut, closed chan struct{} // what was asked
	empty        chan struct{} // the server waits in Accept: it knows of every connection it was given
}

func newDoor(l net.Listener) *door {
	closed := make(chan struct{})
	return &door{Listener: l, lock: sync.OnceValue(l.Close), end: sync.OnceFunc(func() { close(closed) }),
		shut: make(chan struct{}), closed: closed, empty: make(chan struct{}, 1)}
}

// Accept is the listener's, until it is shut. It has one caller.
func (d *door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if err == nil {
		return c, nil
	}
	select {
	case <-d.shut:
		d.empty <- struct{}{}
		<-d.closed
	default:
	}
	return nil, err
}

// stopAccepting returns when no connection comes through any more. It has one caller, once.
func (d *door) stopAccepting(ctx context.Context) {
	close(d.shut)
	_ = d.lock()
	select {
	case <-d.empty:
	case <-d.closed:
	case <-ctx.Done():
	}
}

// Close ends Accept, for good.
func (d *door) Close() error {
	d.end()
	return d.lock()
}
