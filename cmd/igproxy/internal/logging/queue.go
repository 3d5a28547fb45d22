package logging

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// maxPending bounds what waits to be written, in bytes: about 16,000 lines.
const maxPending = 4 << 20

// queue decouples the log from standard error, because a request must never wait for the reader of
// the log: a full pipe would block every response and the drain. Write queues a line and returns;
// one goroutine writes what is pending, in order, many lines at once. When the queue or the disk is
// full, lines are dropped and counted, and the log reports how many as soon as it can.
type queue struct {
	to     io.Writer
	report func(lines int) // logs how many lines were dropped; that line comes back through Write
	torn   bool            // a full disk cut the last line in two; only the goroutine of run uses this field

	mu       sync.Mutex // protects the four fields below
	pending  []byte
	ended    bool
	dropped  int // since the start
	reported int // how many of the dropped lines have been reported

	work chan struct{} // has capacity 1; full when there is something to do
	done chan struct{}
}

// newQueue returns a queue and starts its goroutine, which close ends.
func newQueue(to io.Writer) *queue {
	q := &queue{to: to, report: func(int) {}, work: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Write queues one line. It never waits and never fails.
func (q *queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.ended || len(q.pending)+len(line) > maxPending {
		q.dropped++
	} else {
		q.pending = append(q.pending, line...)
	}
	q.mu.Unlock()
	q.wake()
	return len(line), nil
}

func (q *queue) wake() {
	select {
	case q.work <- struct{}{}:
	default:
	}
}

// droppedSoFar returns how many lines have been lost since the start.
func (q *queue) droppedSoFar() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

func (q *queue) run() {
	defer close(q.done)
	var spare []byte // two buffers take turns
	for range q.work {
		q.mu.Lock()
		batch, ended := q.pending, q.ended
		q.pending = spare[:0]
		q.mu.Unlock()
		ok := len(batch) == 0 || q.write(batch)
		if spare = batch; cap(spare) > maxPending/16 {
			spare = nil // frees the memory after a stall
		}
		if ended {
			return
		}
		if !ok {
			continue // a report would be lost, too
		}
		if lines := q.unreported(); lines > 0 {
			q.report(lines)
		}
	}
}

// unreported returns how many dropped lines to report. It returns 0 while the queue is so full that
// the report itself could be dropped.
func (q *queue) unreported() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) > maxPending/2 {
		return 0
	}
	lines := q.dropped - q.reported
	q.reported = q.dropped
	return lines
}

// write writes a batch and counts the lines that were not written. It ends a torn line first.
func (q *queue) write(batch []byte) (ok bool) {
	if q.torn {
		_, err := q.to.Write([]byte("\n"))
		q.torn = err != nil
	}
	n, err := q.to.Write(batch)
	if err == nil {
		return true
	}
	q.torn = q.torn || n > 0 && batch[n-1] != '\n'
	q.mu.Lock()
	q.dropped += bytes.Count(batch[n:], []byte("\n"))
	q.mu.Unlock()
	return false
}

// close writes what is queued and ends the goroutine, and reports whether the goroutine ended in
// time. If not, it is blocked in a system call and ends with the process.
func (q *queue) close(within time.Duration) bool {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.wake()
	select {
	case <-q.done:
		return true
	case <-time.After(within):
		return false
	}
}
