package sidecar

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
)

// delay keeps serving for the given time, while /readyz reports that the sidecar is not ready. POST
// /quit ends the delay early.
func (s *Sidecar) delay(signals <-chan os.Signal, failed <-chan error, delay time.Duration) error {
	select {
	case <-time.After(delay):
		return nil
	case <-s.quits:
		return nil
	case err := <-failed:
		s.closeAll()
		return fmt.Errorf("serving failed: %w", err)
	case sig := <-signals:
		s.closeAll()
		return secondSignal(sig)
	}
}

// secondSignal returns the error for a stop that sig cuts short. If POST /quit began the stop, sig
// is the first signal.
func secondSignal(sig os.Signal) error {
	return fmt.Errorf("stopped at once by a signal during the drain (%s)", sig)
}

// drain stops the parts in order:
//
//  1. Pending purges are performed.
//  2. The listeners for apps and for interception stop, and their requests are answered.
//  3. Flights, refreshes and writes to Redis finish.
//  4. Spans are sent.
//  5. The admin listeners stop. They are last, so that an orchestrator can watch the drain.
func (s *Sidecar) drain(signals <-chan os.Signal, within time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	s.proxy.Stop()
	start := time.Now()
	done := make(chan error, 1)
	go func() { // ends when drained, or soon after ctx
		s.operator.Close()
		err := errors.Join(s.shutdownApps(ctx), s.proxy.Close(ctx), s.cache.Close(ctx))
		s.endTracing(ctx) // lost spans are not a failure
		done <- errors.Join(err, shutdown(ctx, s.admins))
	}()
	select {
	case err := <-done:
		s.closeAll()
		if err != nil {
			return fmt.Errorf("not everything finished within server.drain (%s): %w", within, err)
		}
		s.log.Info("stopped", "drained_ms", time.Since(start).Milliseconds())
		return nil
	case sig := <-signals:
		cancel()
		s.closeAll()
		<-done
		return secondSignal(sig)
	}
}

// shutdownApps ends the servers for apps and, at the same time, the servers for interception.
func (s *Sidecar) shutdownApps(ctx context.Context) error {
	intercepted := make(chan error, 1)
	go func() { intercepted <- s.intercept.shutdown(ctx) }() // ends before shutdownApps returns
	return errors.Join(shutdown(ctx, s.apps), <-intercepted)
}

// shutdown ends servers within ctx, all at the same time.
func shutdown(ctx context.Context, servers []*listener.Server) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, server := range servers {
		all.Go(func() { errs[i] = server.Shutdown(ctx) })
	}
	all.Wait()
	return errors.Join(errs...)
}
