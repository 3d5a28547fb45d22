package listener

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A handler that takes a connection over decides how long the connection stays open: the limit, a
// drain and Close leave it alone.
func TestTheServerLeavesAReleasedConnectionAlone(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			taken := make(chan net.Conn, 1)
			s, client := servingOn(t, loopback(t), secure, false, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				Release(c)
				Release(c) // the second call does nothing
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				taken <- c
			}))
			s.bound.open.mu.Lock()
			s.bound.open.limit = 1
			s.bound.open.mu.Unlock()
			var last net.Conn
			for range 3 { // more than the limit
				res, err := client.Get(s.url())
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				last = <-taken
				defer last.Close()
				if open := len(s.bound.open.snapshot()); open != 0 {
					t.Errorf("%d connections count towards the limit, want 0", open)
				}
				client.Transport.(*http.Transport).CloseIdleConnections()
			}
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := s.Shutdown(ctx); err != nil || time.Since(start) > 10*time.Second {
				t.Errorf("Shutdown returned %v after %s, want nil within 10s", err, time.Since(start))
			}
			s.Close()
			if _, err := last.Write([]byte("x")); err != nil {
				t.Errorf("a write to a released connection after Close: got the error %v, want none", err)
			}
		})
	}
}
