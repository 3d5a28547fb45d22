package cache

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// dialTimeout bounds the time to dial one connection. It is long enough for a lost SYN to be sent
// again, which TCP does after a second. No caller waits that long: the library dials in a
// goroutine, and a connection that comes too late for one caller serves the next.
const dialTimeout = 3 * time.Second

// client is a client of the library, with what igproxy needs to know about it.
type client struct {
	redis.UniversalClient
	worked atomic.Bool // an operation has succeeded
	claims *batches    // nil: every claim is sent by itself

	sentinels *sentinels           // nil: not in mode sentinel
	cluster   *redis.ClusterClient // nil: not in mode cluster
}

// failed makes the library read the map of a cluster's slots again after a failed operation,
// because another node may serve the slot by now. By itself the library reads the map again only
// when the map is a minute old, or when a node redirects a command or refuses a write. A dead node
// does neither. The map is read in the background, one reading at a time.
func (c *client) failed(ctx context.Context) {
	if c.cluster != nil {
		c.cluster.ReloadState(ctx)
	}
}

// run calls a script with EVALSHA. It uses EVAL if Redis does not have the script, for example at
// the first call, and after SCRIPT FLUSH or a failover.
func (c *client) run(ctx context.Context, s *redis.Script, keys []string, args []any) (any, error) {
	if c.claims == nil || s != claimScript {
		return s.Run(ctx, c, keys, args...).Result()
	}
	command := make([]any, 0, 3+len(keys)+len(args))
	command = append(command, "evalsha", s.Hash(), len(keys))
	for _, key := range keys {
		command = append(command, key)
	}
	reply, err := c.claims.do(ctx, append(command, args...)...)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		return s.Eval(ctx, c, keys, args...).Result()
	}
	return reply, err
}

// close ends every connection, and waits for the batches that are in flight.
func (c *client) close() {
	_ = c.UniversalClient.Close()
	if c.claims != nil {
		c.claims.sending.Wait()
	}
}

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// dialer returns a dialer that ends a TLS handshake when the context ends. The library's own dialer
// does not. Each dialed connection is guarded against replies that are too large.
func dialer(config *tls.Config) dialFunc {
	plain := &net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	dial := plain.DialContext
	if config != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: config}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		bounded := &boundedConn{Conn: conn}
		if socket, ok := conn.(syscall.Conn); ok { // the library checks the socket before each use
			return struct {
				*boundedConn
				syscall.Conn
			}{bounded, socket}, nil
		}
		return bounded, nil
	}
}

// boundedConn is a connection that is closed when a reply is too large.
type boundedConn struct {
	net.Conn
	bound replyBound // needs no lock, because the library does not read and write at the same time
}

// Write notices CLUSTER SLOTS, whose reply may be larger.
func (c *boundedConn) Write(b []byte) (int, error) {
	c.bound.slots = bytes.Equal(b, askSlots)
	return c.Conn.Write(b)
}

// Read returns errOversize instead of the bytes of a reply that is too large. All later reads do
// the same, so that the kind of fault does not depend on which read the library reports.
func (c *boundedConn) Read(b []byte) (int, error) {
	if c.bound.refused {
		return 0, errOversize
	}
	n, err := c.Conn.Read(b)
	if refused := c.bound.admit(b[:n]); refused != nil {
		_ = c.Close()
		return 0, refused
	}
	return n, err
}

// replace makes all later operations use new connections, and reports whether they do. Operations
// in flight continue on the old client, which is closed after StoreTimeout, or when the tier
// closes.
//
// A firewall, a NAT or a managed Redis may drop idle connections without notifying the client. The
// library would take the dead connections out of its pool one at a time, at the cost of one timeout
// each.
func (t *redisTier) replace(old *client) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.closed:
		return false
	default:
	}
	if t.client.Load() != old {
		return true
	}
	fresh, err := newClient(t.options)
	if err != nil { // not expected, because the same options were valid before
		return false
	}
	t.client.Store(fresh)
	t.retiring.Go(func() {
		select {
		case <-time.After(t.options.StoreTimeout):
		case <-t.closed:
		}
		contain(t.log, "close connections", func() { old.close() })
	})
	return true
}
