// Package lane answers plain hits below net/http: requests for a token that is in memory, in the
// form that common clients write. It is not a server. net/http owns each connection, its timeouts
// and its drain, and reads through the lane; while net/http waits for the next request, the lane
// answers plain hits itself. Anything else is delivered to net/http untouched: a miss, another
// path, a header that is not known to be harmless, half a request. What the lane answers is, byte
// for byte except for Date and the request id, what net/http would have answered; proxy.FuzzLane
// compares them.
//
// The lane must know that it is between two requests. It does while everything that net/http was
// given are whole requests that cannot have a body, one at a time. After anything else the
// connection stays with net/http.
package lane

import (
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// Path and GrantType are those of the one request that the lane recognises.
const (
	Path      = "/access_token"
	GrantType = "ig_exchange_token"
)

// Answerer answers the plain requests of one connection. It is used by one goroutine at a time.
type Answerer interface {
	// Answer appends the whole answer to a request for a token to b, within the capacity of b. Nil
	// leaves the request to net/http. Host and token are valid only during the call.
	Answer(b, host, token []byte, now time.Time) []byte
	// Sent is called after each answer, when it has been written or writing has failed. It has the
	// time at which the request was read and how long the answer took.
	Sent(start time.Time, took time.Duration)
}

// Options configure a Lane.
type Options struct {
	// NewAnswerer returns the Answerer of a new connection.
	NewAnswerer func() Answerer
	// IdleTimeout is how long a connection may wait for its next request, as in the http.Server.
	// Zero: without limit.
	IdleTimeout time.Duration
	// WriteTimeout is how long writing an answer may take. Zero: without limit.
	WriteTimeout time.Duration
}

// Lane serves the connections of one http.Server.
type Lane struct {
	options  Options
	draining atomic.Bool
}

// New returns a Lane.
func New(o Options) *Lane { return &Lane{options: o} }

// Drain makes the Lane leave every request to net/http, whose answers can say that the connection
// ends.
func (l *Lane) Drain() { l.draining.Store(true) }

// Wrap returns the connection to give to an http.Server for c. Its method NetConn returns c. If c
// has a method Idle(since time.Time), it is called when c begins to wait for a request, which
// net/http may not see.
func (l *Lane) Wrap(c net.Conn) net.Conn {
	below, _ := c.(idler)
	return &conn{Conn: c, below: below, options: &l.options, draining: &l.draining, answers: l.options.NewAnswerer(),
		fresh: true, aligned: true, abort: make(chan struct{}, 1)}
}

type idler interface{ Idle(since time.Time) }

// ConnState must be the hook of the http.Server: without it the lane answers nothing. While
// net/http waits or works on an aligned connection nothing else reads from it: there are no bodies,
// and the read during a handler has ended.
func (l *Lane) ConnState(wrapped net.Conn, state http.ConnState) {
	c, ok := wrapped.(*conn)
	if !ok || state > http.StateIdle || !c.aligned {
		return
	}
	if state == http.StateIdle { // net/http sets the read deadline now, and has removed the write deadline
		c.last = time.Now()
		c.readSet, c.writeSet = c.last, time.Time{}
	}
	c.waiting, c.fresh = state == http.StateIdle, state != http.StateActive
}
