package passthrough

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// leastRate is the lowest average rate at which a body may arrive, from an app or from Meta. Both
// normally send thousands of times faster. A sender below this rate is stuck, or wants to keep a
// connection busy. A sender that has kept to the rate may pause for ten seconds (patience). That is
// longer than it takes to recover a lost packet, or to change from one mobile cell to another.
//
// When an app reads a response, each write of at most 32 KiB may take 30 seconds (readerPatience),
// which amounts to about the same rate. The kernels at both ends buffer megabytes and report free
// space in large steps. So a shorter time would also cut off readers that keep to the rate.
const (
	leastRate      = 1 << 10 // bytes per second
	patience       = 10 * time.Second
	readerPatience = 30 * time.Second
)

// The reasons for ending a call whose body is slower than leastRate.
var (
	// ErrSlowRequest means that the app sends its body too slowly.
	ErrSlowRequest = errors.New("the body of the request arrives too slowly")
	// ErrSlowResponse means that Meta sends the body of its response too slowly.
	ErrSlowResponse = errors.New("the response arrives too slowly")
	// ErrSlowReader means that the app reads the response too slowly. The response is cut short.
	ErrSlowReader = errors.New("the app reads the response too slowly")
)

// pace is how much longer the sender of a body may keep igproxy waiting. A wait uses up this time,
// and each byte that arrives gives a part of it back.
type pace struct{ left time.Duration }

func newPace() pace { return pace{patience} }

// waited records a wait in which n bytes arrived.
func (p *pace) waited(d time.Duration, n int) {
	p.left = min(p.left-d+time.Duration(n)*time.Second/leastRate, patience)
}

// sides controls how long a call waits for its two sides, the app and Meta. Each read or write that
// waits for a side has its own deadline.
type sides struct {
	control *http.ResponseController
	end     time.Time             // of the call
	stop    context.CancelFunc    // ends the call to Meta
	slow    atomic.Pointer[error] // the address of one of the three errors above; nil: no side was too slow
}

// readEnd and writeEnd return the deadlines of the app's connection while the call is not waiting
// for the app. These deadlines are later than the end of the call, so that a call that takes too
// long can still be answered.
func (s *sides) readEnd() time.Time  { return s.end.Add(time.Second) }
func (s *sides) writeEnd() time.Time { return s.end.Add(2 * time.Second) }

// explain sets result.Err to the reason if the call is incomplete because one side was too slow. If
// this side was the app as a reader, explain also sets result.Cut.
func (s *sides) explain(result *Result) {
	reason := s.slow.Load()
	if reason == &ErrSlowReader { // the write may have failed in a flush, whose error ReverseProxy ignores
		result.Cut = true
	}
	if reason != nil && (result.Err != nil || result.Cut) {
		result.Err = *reason
	}
}

// pacedBody is the body of a request. Read fails if the app sends it too slowly.
type pacedBody struct {
	io.ReadCloser
	*sides
	pace pace
}

func (b *pacedBody) Read(p []byte) (int, error) {
	start := time.Now()
	end := start.Add(b.pace.left)
	_ = b.control.SetReadDeadline(earlier(end, b.readEnd()))
	n, err := b.ReadCloser.Read(p)
	b.pace.waited(time.Since(start), n)
	switch {
	case err == nil: // over HTTP/2, a deadline that passes ends the body even if nothing is reading it
		_ = b.control.SetReadDeadline(b.readEnd())
	case err != io.EOF && isOver(end) && end.Before(b.end):
		b.slow.CompareAndSwap(nil, &ErrSlowRequest)
	}
	return n, err
}

// pacedResponse is the body of a response. Read ends the call if Meta sends it too slowly.
type pacedResponse struct {
	io.ReadCloser
	*sides
	pace pace
}

func (b *pacedResponse) Read(p []byte) (int, error) {
	start := time.Now()
	timer := time.AfterFunc(b.pace.left, func() {
		b.slow.CompareAndSwap(nil, &ErrSlowResponse)
		b.stop()
	})
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	b.pace.waited(time.Since(start), n)
	return n, err
}

// writer writes the response to the app. A write fails if the app reads too slowly.
type writer struct {
	http.ResponseWriter
	*sides
}

// WriteHeader removes the CORS headers, because web pages must not use igproxy, even if Meta's
// response allows it.
func (w *writer) WriteHeader(status int) {
	maps.DeleteFunc(w.Header(), func(name string, _ []string) bool {
		return strings.HasPrefix(name, "Access-Control-")
	})
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(p []byte) (n int, err error) {
	err = w.send(func() (err error) { n, err = w.ResponseWriter.Write(p); return err })
	return n, err
}

// FlushError implements the method that http.ResponseController looks for.
func (w *writer) FlushError() error { return w.send(w.control.Flush) }

// send calls write with a deadline, because write may have to wait for the app.
func (w *writer) send(write func() error) error {
	end := time.Now().Add(readerPatience)
	_ = w.control.SetWriteDeadline(earlier(end, w.writeEnd()))
	err := write()
	if err != nil && isOver(end) && end.Before(w.end) {
		w.slow.CompareAndSwap(nil, &ErrSlowReader)
	}
	_ = w.control.SetWriteDeadline(w.writeEnd())
	return err
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func isOver(t time.Time) bool { return !time.Now().Before(t) }
