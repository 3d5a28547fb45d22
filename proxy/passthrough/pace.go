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

// The least rate of a body that is sent to igproxy. Apps and Meta are thousands of times as fast.
// Only what is stuck, or wants to hold a place, is slower. A pause of less than patience is allowed
// at any time: it is longer than a lost packet or a hand-over of a mobile network takes.
//
// A reader has readerPatience for each write, of 32 KiB at most, which is about the same rate. The
// kernels of both ends hold megabytes and report that there is room again in large steps, so a
// shorter time would end readers that are only slow.
const (
	leastRate      = 1 << 10 // bytes per second
	patience       = 10 * time.Second
	readerPatience = 30 * time.Second
)

// The reasons for ending a call whose body is slower than leastRate.
var (
	// ErrSlowRequest means that the app sends its body too slowly.
	ErrSlowRequest = errors.New("the body of the request comes too slowly")
	// ErrSlowAnswer means that Meta sends the body of its answer too slowly.
	ErrSlowAnswer = errors.New("the answer comes too slowly")
	// ErrSlowReader means that the app reads the answer too slowly. The answer is cut.
	ErrSlowReader = errors.New("the app reads the answer too slowly")
)

// pace is what is left of the patience with who sends a body. Waiting uses it up, and each byte
// gives a part of it back.
type pace struct{ left time.Duration }

func newPace() pace { return pace{patience} }

// waited notes a wait in which n bytes came.
func (p *pace) waited(d time.Duration, n int) {
	p.left = min(p.left-d+time.Duration(n)*time.Second/leastRate, patience)
}

// sides are the two sides of a call, app and Meta. A read or a write that waits for one of them has
// its own deadline.
type sides struct {
	control *http.ResponseController
	end     time.Time          // of the call
	stop    context.CancelFunc // ends the call to Meta
	slow    atomic.Pointer[error]
}

// readEnd and writeEnd return the deadlines for the app's connection while the call waits for
// nothing there. They are after the end of the call, so that a call that takes too long gets an
// answer.
func (s *sides) readEnd() time.Time  { return s.end.Add(time.Second) }
func (s *sides) writeEnd() time.Time { return s.end.Add(2 * time.Second) }

// explain adds why a side was too slow to the result of a call without a whole answer.
func (s *sides) explain(result *Result) {
	reason := s.slow.Load()
	if reason == &ErrSlowReader { // what is missing may be only the end, which ReverseProxy flushes
		result.Cut = true
	}
	if reason != nil && (result.Err != nil || result.Cut) {
		result.Err = *reason
	}
}

// pacedBody is the body of a request. It fails if the app sends it too slowly.
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
	case err == nil: // over HTTP/2 the deadline would end the body although nothing reads it
		_ = b.control.SetReadDeadline(b.readEnd())
	case err != io.EOF && isOver(end) && end.Before(b.end):
		b.slow.CompareAndSwap(nil, &ErrSlowRequest)
	}
	return n, err
}

// pacedAnswer is the body of an answer. It ends the call if Meta sends it too slowly.
type pacedAnswer struct {
	io.ReadCloser
	*sides
	pace pace
}

func (b *pacedAnswer) Read(p []byte) (int, error) {
	start := time.Now()
	timer := time.AfterFunc(b.pace.left, func() {
		b.slow.CompareAndSwap(nil, &ErrSlowAnswer)
		b.stop()
	})
	n, err := b.ReadCloser.Read(p)
	timer.Stop()
	b.pace.waited(time.Since(start), n)
	return n, err
}

// writer writes the answer to the app. It fails if the app reads too slowly.
type writer struct {
	http.ResponseWriter
	*sides
}

// WriteHeader removes the CORS headers: web pages may not use igproxy, whatever Meta allows them.
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

// send calls write, which waits for the app.
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
