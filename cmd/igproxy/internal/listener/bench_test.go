package listener

import (
	"net"
	"testing"
	"time"
)

// BenchmarkRequestOnAKeptConnection measures what this package adds to the cost of a request on
// a kept connection, first for a request that the fast lane answers, then for a request that a
// handler answers.
func BenchmarkRequestOnAKeptConnection(b *testing.B) {
	c := &conn{Conn: remote{}, open: newConnections(1, time.Second)}
	c.open.add(c)
	c.begin(false)
	c.end()
	p := make([]byte, 1)
	c.Conn = endless{remote{}}
	b.Run("lane", func(b *testing.B) {
		b.ReportAllocs()
		since := time.Now()
		for b.Loop() {
			if !c.Begin() {
				b.Fatal("the connection was evicted")
			}
			_, _ = c.Write(p)
			c.Idle(since)
		}
	})
	b.Run("handler", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = c.Read(p)
			c.begin(false)
			c.end()
			_, _ = c.Write(p)
		}
	})
}

// endless is a connection that always has something to read.
type endless struct{ net.Conn }

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// BenchmarkFullListener measures how long it takes to find the connection to close among 10,000
// connections, of which nine in ten are busy.
func BenchmarkFullListener(b *testing.B) {
	s := newConnections(10_000, 0)
	for i := range 10_000 {
		c := &conn{Conn: remote{}, open: s}
		s.add(c)
		c.begin(false)
		if i%10 == 0 {
			c.end()
			c.state.Store(time.Unix(1000, int64(i)).UnixNano())
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		_, _ = s.victim()
	}
}
