package logging

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// maxLines bounds what waits to be logged, in bytes: some 16,000 lines.
const maxLines = 4 << 20

// queue stands between the log and standard error, because a request must never wait for the reader
// of the log: a full pipe would hold every answer, and with them the drain. Write queues a line and
// returns; one goroutine writes what is pending, in order, many lines at once. When the queue or
// the disk is full, lines are dropped and counted, and the log reports how many as soon as it can.
type queue struct {
	to     io.Writer
	report func(dropped int) // logs one line; it comes back as a Write

	mu       sync.Mutex // protects all below
	pending  []byte
	ended    bool
	dropped  int // since the start
	reported int // of them

	work chan struct{} // holds one when there is something to do
	done chan struct{}
}

// newQueue starts the goroutine that ends with close.
func newQueue(to io.Writer) *queue {
	l := &queue{to: to, report: func(int) {}, work: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes one line. It never waits and never fails.
func (l *queue) Write(line []byte) (int, error) {
	l.mu.Lock()
	if l.ended || len(l.pending)+len(line) > maxLines {
		l.dropped++
	} else {
		l.pending = append(l.pending, line...)
	}
	l.mu.Unlock()
	l.wake()
	return len(line), nil
}

func (l *queue) wake() {
	select {
	case l.work <- struct{}{}:
	default:
	}
}

// droppedSoFar returns how many lines were lost since the start.
func (l *queue) droppedSoFar() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

func (l *queue) run() {
	defer close(l.done)
	var spare []byte // two buffers take turns
	torn := false
	for range l.work {
		l.mu.Lock()
		batch, ended := l.pending, l.ended
		l.pending = spare[:0]
		l.mu.Unlock()
		ok := l.write(batch, &torn)
		if spare = batch; cap(spare) > maxLines/16 {
			spare = nil // after a stall the memory is given back
		}
		if ended {
			return
		}
		if lost := l.unreported(ok); lost > 0 {
			l.report(lost)
		}
	}
}

// write writes a batch and counts what did not get through. A line that a full disk tore in two is
// ended before the next one begins.
func (l *queue) write(batch []byte, torn *bool) (ok bool) {
	if len(batch) == 0 {
		return true
	}
	if *torn {
		if _, err := l.to.Write([]byte("\n")); err == nil {
			*torn = false
		}
	}
	n, err := l.to.Write(batch)
	if err == nil {
		return true
	}
	*torn = *torn || n > 0 && batch[n-1] != '\n'
	l.mu.Lock()
	l.dropped += bytes.Count(batch[n:], []byte("\n"))
	l.mu.Unlock()
	return false
}

// unreported returns how many lost lines to report: none while the log does not move, because the
// report would be lost too.
func (l *queue) unreported(moves bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !moves || len(l.pending) > maxLines/2 {
		return 0
	}
	lost := l.dropped - l.reported
	l.reported = l.dropped
	return lost
}

// close writes what is queued and ends the goroutine, and reports whether that was possible in
// time. If not, the goroutine waits in the system and ends with the process; nothing more can be
// said there.
func (l *queue) close(within time.Duration) bool {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
	l.wake()
	patience := time.NewTimer(within)
	defer patience.Stop()
	select {
	case <-l.done:
		return true
	case <-patience.C:
		return false
	}
}
