package logging

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// tap is a log's destination that can fail for a while.
type tap struct {
	mu   sync.Mutex
	text bytes.Buffer
	full bool // like a full disk: half of a write gets through
}

func (p *tap) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.full {
		n, _ := p.text.Write(b[:len(b)/2])
		return n, errors.New("no space left on device")
	}
	return p.text.Write(b)
}

func (p *tap) fill(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = full
}

func TestEveryLineIsWrittenInOrder(t *testing.T) {
	const writers, each = 8, 2000
	var to tap
	l := newQueue(&to)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				fmt.Fprintf(l, "%d %d\n", w, i)
			}
		})
	}
	wg.Wait()
	if !l.close(10 * time.Second) {
		t.Fatal("the queue did not end in time")
	}
	var next [writers]int
	for line := range strings.Lines(to.text.String()) {
		var w, i int
		if _, err := fmt.Sscanf(line, "%d %d\n", &w, &i); err != nil || i != next[w] {
			t.Fatalf("got %q, want line %d of writer %d (error: %v)", line, next[w], w, err)
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("writer %d: got %d lines, want %d", w, n, each)
		}
	}
	if l.droppedSoFar() != 0 {
		t.Errorf("%d lines were dropped, want 0", l.droppedSoFar())
	}
}

// stuck blocks like a pipe without a reader, until open is closed.
type stuck struct {
	open chan struct{}
	tap
}

func (s *stuck) Write(b []byte) (int, error) { <-s.open; return s.tap.Write(b) }

func TestStuckLogBlocksNoWriterAndReportsDroppedLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &stuck{open: make(chan struct{})}
		l := newQueue(to)
		l.report = func(n int) { fmt.Fprintf(l, "lost %d\n", n) }
		fmt.Fprintln(l, "first")
		synctest.Wait() // the first line is stuck in the pipe
		line := []byte(strings.Repeat("x", 1023) + "\n")
		for range maxPending/len(line) + 7 {
			if n, err := l.Write(line); n != len(line) || err != nil {
				t.Fatalf("Write returned %d, %v; want %d and no error", n, err, len(line))
			}
		}
		if l.droppedSoFar() != 7 {
			t.Errorf("%d lines were dropped, want the 7 beyond the bound", l.droppedSoFar())
		}
		close(to.open)
		synctest.Wait()
		fmt.Fprintln(l, "last")
		if !l.close(time.Second) {
			t.Fatal("the queue did not end in time")
		}
		got := to.text.String()
		if !strings.HasPrefix(got, "first\nxxx") || !strings.HasSuffix(got, "x\nlost 7\nlast\n") || strings.Count(got, "\n") != 3+maxPending/len(line) {
			t.Errorf("got %d lines, want %d; they begin with %q, want \"first\"; they end with %q, want \"lost 7\" and \"last\"", strings.Count(got, "\n"), 3+maxPending/len(line), got[:20], got[len(got)-30:])
		}
	})
}

func TestFullDiskDropsWholeLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var to tap
		l := newQueue(&to)
		l.report = func(n int) { fmt.Fprintf(l, "lost %d\n", n) }
		fmt.Fprintln(l, "good")
		synctest.Wait()
		to.fill(true)
		for i := range 5 {
			fmt.Fprintf(l, "unlucky %d\n", i)
			synctest.Wait()
		}
		to.fill(false)
		fmt.Fprintln(l, "good again")
		synctest.Wait()
		l.close(time.Second)
		got := strings.Split(strings.TrimSuffix(to.text.String(), "\n"), "\n")
		if l.droppedSoFar() != 5 || got[0] != "good" || got[len(got)-2] != "good again" || got[len(got)-1] != "lost 5" {
			t.Errorf("%d lines were dropped, want 5; got the lines %q, want \"good\" as the first, and \"good again\" and \"lost 5\" as the last two", l.droppedSoFar(), got)
		}
	})
}

func TestAStuckLogDelaysAStopOnlyUntilTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		to := &stuck{open: make(chan struct{})}
		l := newQueue(to)
		fmt.Fprintln(l, "first")
		start := time.Now()
		if ok := l.close(closeTimeout); ok || time.Since(start) != closeTimeout {
			t.Errorf("close returned %v after %s, want false after %s", ok, time.Since(start), closeTimeout)
		}
		close(to.open)
		<-l.done
		if to.text.String() != "first\n" {
			t.Errorf("after the writer was unblocked: got %q, want the first line", to.text.String())
		}
	})
}
