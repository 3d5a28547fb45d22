// Package lane serves the connections of the app listener. It answers plain token requests on the
// connection itself, below net/http, at about half the cost.
//
// Connections move in one direction. Each connection begins in the lane, which reads it in its own
// goroutine. The lane recognises one form of request, the plain request: GET /access_token as
// common clients write it (request.go). The Handler answers plain requests in order, hits and
// misses alike. When a request of any other form arrives, the lane hands the connection to
// net/http, with the bytes that it has read. An http.Server gets such connections from Fallback.
// The lane never takes a connection back, so it has to understand only one form, and depends on
// nothing inside net/http. It is stricter than the rest of igproxy wherever the two could differ.
// An answer of the lane equals the answer through net/http byte for byte, except for Date and the
// request id. proxy.FuzzLane compares the two.
//
// The Handler declines a request if Host and token are not enough to answer it. They are never
// enough if igproxy requires its own token, traces requests, or does not have exactly one Instagram
// app. A listener with TLS has no lane.
package lane

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Path and GrantType are the path and the grant type of the only request that the lane recognises.
const (
	Path      = "/access_token"
	GrantType = "ig_exchange_token"
)

// Handler answers the plain requests of one connection. It is used by one goroutine at a time.
type Handler interface {
	// Serve answers a plain request: it appends the whole answer to b and returns the result. If
	// last is true, the connection must be closed after the answer. A nil answer leaves the request
	// to net/http. Host and token are valid only during the call.
	Serve(b, host, token []byte, start time.Time) (answer []byte, last bool)
	// Sent is called when an answer has been written, or when writing it has failed. start is the
	// argument that Serve got, and took is the time that has passed since start.
	Sent(start time.Time, took time.Duration)
}

// Options configure a Lane.
type Options struct {
	// NewHandler returns the Handler of a new connection. Required.
	NewHandler func() Handler
	// HeaderTimeout is how long a request may take to arrive, and how long a new connection may
	// send nothing. Zero: no limit.
	HeaderTimeout time.Duration
	// IdleTimeout is how long a connection may wait for its next request. Zero: no limit.
	IdleTimeout time.Duration
	// WriteTimeout is how long it may take to answer a request. Zero: no limit.
	WriteTimeout time.Duration
	// Logger receives errors of Accept and panics. Required.
	Logger *slog.Logger
}

// Lane serves the connections of one listener. It is safe for concurrent use.
type Lane struct {
	options  Options
	fallback *fallback
	conns    sync.WaitGroup
}

// New returns a Lane. An http.Server must serve its Fallback.
func New(o Options) *Lane {
	closed, cancel := context.WithCancel(context.Background())
	return &Lane{options: o, fallback: &fallback{make(chan net.Conn), closed, cancel}}
}

// Fallback returns the listener of the connections that go to net/http. Its Accept returns
// net.ErrClosed after Shutdown.
func (l *Lane) Fallback() net.Listener { return l.fallback }

// Serve accepts connections until the listener is closed, and then returns the error of Accept. If
// Accept fails for any other reason, Serve tries again after a growing delay, as net/http does
// after temporary errors.
func (l *Lane) Serve(listener net.Listener) error {
	for pause := time.Duration(0); ; {
		c, err := listener.Accept()
		switch {
		case err == nil:
			pause = 0
			l.conns.Go(newConn(l, c).run) // until the connection ends or net/http has taken it
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			l.options.Logger.Warn("accept failed", "error", err, "next_try_ms", pause.Milliseconds())
			time.Sleep(pause)
		}
	}
}

// Shutdown waits until no connection is left in the lane, and then closes Fallback. If ctx ends
// first, it returns the error of ctx. Serve must already have returned. Shutdown itself ends no
// connection. A connection leaves the lane after an answer that the Handler reports as the last, at
// a timeout, when net/http gets it, or when the client or the listener closes it.
func (l *Lane) Shutdown(ctx context.Context) error {
	empty := make(chan struct{})
	go func() { // ends with the last connection
		l.conns.Wait()
		close(empty)
	}()
	select {
	case <-empty:
		return l.fallback.Close()
	case <-ctx.Done():
		return ctx.Err()
	}
}
