package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// maxLines bounds what waits to be logged, in bytes: some 16,000 lines.
const maxLines = 4 << 20

// lastLines is how long a stop waits for the last lines.
const lastLines = time.Second

// lines stands between the log and standard error, because a request must never wait for whoever reads the log: a pipe that nobody reads
// would hold every answer, and with them the drain. Write puts a line into a queue and returns; one goroutine writes what has come, in
// order, many lines at once. When the queue is full, or the disk, lines are dropped and counted, and the first thing the log says when it
// moves again is how many.
type lines struct {
	to   io.Writer
	tell func(dropped int) // logs one line; it comes back as a Write

	mu      sync.Mutex // protects all below
	queue   []byte
	ended   bool
	dropped int // since the start
	told    int // of them, how many the log knows of

	come chan struct{} // holds one when there is something to do
	done chan struct{}
}

// newLines starts the goroutine that ends with close.
func newLines(to io.Writer) *lines {
	l := &lines{to: to, tell: func(int) {}, come: make(chan struct{}, 1), done: make(chan struct{})}
	go l.run()
	return l
}

// Write takes one line. It never waits and never fails.
func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	if l.ended || len(l.queue)+len(line) > maxLines {
		l.dropped++
	} else {
		l.queue = append(l.queue, line...)
	}
	l.mu.Unlock()
	l.wake()
	return len(line), nil
}

func (l *lines) wake() {
	select {
	case l.come <- struct{}{}:
	default:
	}
}

// Dropped is how many lines were lost since the start.
func (l *lines) Dropped() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dropped
}

func (l *lines) run() {
	defer close(l.done)
	var spare []byte // two buffers take turns
	torn := false
	for range l.come {
		l.mu.Lock()
		batch, ended := l.queue, l.ended
		l.queue = spare[:0]
		l.mu.Unlock()
		ok := l.write(batch, &torn)
		if spare = batch; cap(spare) > maxLines/16 {
			spare = nil // after a stall the memory is given back
		}
		if ended {
			return
		}
		if lost := l.untold(ok); lost > 0 {
			l.tell(lost)
		}
	}
}

// write writes a batch and counts what did not get through. A line that a full disk tore in two is ended before the next one begins.
func (l *lines) write(batch []byte, torn *bool) (ok bool) {
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

// untold is how many lines the log must say it lost: none as long as it does not move, or that very line could be lost, too.
func (l *lines) untold(moves bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !moves || len(l.queue) > maxLines/2 {
		return 0
	}
	lost := l.dropped - l.told
	l.told = l.dropped
	return lost
}

// close writes what is queued and ends the goroutine, and reports whether that was possible in time. If not, the goroutine waits in the
// system and ends with the process; nothing more can be said there.
func (l *lines) close(within time.Duration) bool {
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
