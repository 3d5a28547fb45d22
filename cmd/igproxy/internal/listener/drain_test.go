package listener

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// To net/http, a connection on which the fast lane answers is idle: Shutdown does not wait for it.
func TestADrainWaitsForWhatTheFastLaneStillWrites(t *testing.T) {
	l := loopback(t)
	synctest.Test(t, func(t *testing.T) {
		bound := newBounded(l, 1)
		bound.open[&boundConn{}] = true // not idle
		door := newDoor(bound)
		door.empty <- struct{}{} // nobody accepts
		app := &Server{door: door, bound: bound, http: &http.Server{}, onShutdown: func() {}}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start := time.Now()
		if err := app.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 20*time.Second {
			t.Errorf("it ended with %v after %s, want the drain's time-out", err, time.Since(start))
		}
	})
}
