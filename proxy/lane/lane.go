// Package lane answers plain hits below net/http: requests for a token that memory knows, in nothing but the form that common clients write.
// It is not a server. net/http owns each connection, its timeouts and its drain; it reads through the lane, and where it waits for the next
// request, the lane answers plain hits itself. The first bytes that are anything else it hands on untouched: a miss, another path, a header
// that is not known to be harmless, half a request. What the lane answers is, byte for byte except Date and request id, what net/http would
// have answered; proxy.FuzzLane compares them.
//
// The lane must know that it stands between two requests. It does as long as all that net/http was given are whole requests that cannot
// have a body, one at a time; after anything else net/http has the connection for good.
package lane

import (
	"net"
	"net/http"
	"time"
)

// Path and GrantType are those of the one request that the lane knows.
const (
	Path      = "/access_token"
	GrantType = "ig_exchange_token"
)

// Answerer answers the plain requests of one connection. One goroutine at a time uses it.
type Answerer interface {
	// Answer appends the whole answer to a request for a token to b, within the capacity of b. Nil leaves the request to net/http. Host
	// and token are valid during the call only.
	Answer(b, host, token []byte, now time.Time) []byte
	// Sent follows each answer when it is written, or could not be: it was begun at start and took so long.
	Sent(start time.Time, took time.Duration)
}

// Options configure a Lane.
type Options struct {
	// NewAnswerer returns what answers on a new connection.
	NewAnswerer func() Answerer
	// IdleTimeout is how long a connection may wait for its next request; the http.Server has the same. Zero: for ever.
	IdleTimeout time.Duration
	// WriteTimeout is how long an answer may take to be written. Zero: for ever.
	WriteTimeout time.Duration
}

// Lane serves the connections of one http.Server.
type Lane struct{ options Options }

// New returns a Lane.
func New(o Options) *Lane { return &Lane{o} }

// Wrap returns the connection that an http.Server is to be given for c, which has a method NetConn that returns c. If c has a method
// Idle(since time.Time), it is called when c begins to wait for a request that net/http may not see.
func (l *Lane) Wrap(c net.Conn) net.Conn {
	below, _ := c.(idler)
	return &conn{Conn: c, below: below, options: &l.options, answers: l.options.NewAnswerer(), fresh: true, square: true, abort: make(chan struct{}, 1)}
}

type idler interface{ Idle(since time.Time) }

// ConnState is the hook that the http.Server must have: without it the lane answers nothing. When net/http says that it waits or works,
// nothing else reads: there are no bodies on a square connection, and its read beside a handler has ended.
func (l *Lane) ConnState(wrapped net.Conn, state http.ConnState) {
	c, ok := wrapped.(*conn)
	if !ok || state > http.StateIdle || !c.square {
		return
	}
	if state == http.StateIdle { // net/http sets the read deadline now, and has removed the write deadline
		c.last = time.Now()
		c.armed, c.wrote = c.last, time.Time{}
	}
	c.waits, c.fresh = state == http.StateIdle, state != http.StateActive
}
