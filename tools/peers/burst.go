package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	burstLatency = 200 * time.Millisecond // of the upstream
	someCallers  = 500
	manyCallers  = 5_000
	firstBurst   = 2_000_000 // bursts use the token numbers after this one; no other part uses them
)

// bursts measures many callers that ask for one cold token at the same time. Their connections are
// already open.
func (b *bench) bursts() error {
	mock, ca, err := b.instagram(burstLatency.String())
	if err != nil {
		return err
	}
	origin, err := b.origin(burstLatency.String())
	if err != nil {
		return err
	}
	sidecar, err := b.sidecar("igproxy", mock.url, ca)
	if err != nil {
		return err
	}
	large, err := b.sidecar("igproxy-large", mock.url, ca, fmt.Sprint("SERVER_MAX_CONNECTIONS=", manyCallers+1000))
	if err != nil {
		return err
	}
	nginx, err := b.nginx(origin)
	if err != nil {
		return err
	}
	varnish, err := b.varnish(origin)
	if err != nil {
		return err
	}
	instagramsCalls := func() (int, error) { return mockCalls(mock) }
	originsCalls := func() (int, error) {
		text, err := page(origin.url + callsPath)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(text)
	}
	calls, last := figures{}, figures{}
	manyCalls, manyLast := figures{}, figures{}
	n := firstBurst
	for range b.rounds {
		for _, c := range []struct {
			s           *server
			name        string
			callers     int
			counted     func() (int, error)
			calls, last figures
		}{
			{nginx, nginxName, someCallers, originsCalls, calls, last},
			{sidecar, sidecarName, someCallers, instagramsCalls, calls, last},
			{varnish, "varnish", someCallers, originsCalls, calls, last},
			{large, sidecarName, manyCallers, instagramsCalls, manyCalls, manyLast},
		} {
			before, err := c.counted()
			if err != nil {
				return err
			}
			n++
			took, err := burst(c.s, n, c.callers)
			if err != nil {
				return err
			}
			after, err := c.counted()
			if err != nil {
				return err
			}
			b.say("%-8s %5d callers: %d calls, the last answer after %v", c.name, c.callers, after-before, took.Round(time.Millisecond))
			c.calls.add(c.name, float64(after-before))
			c.last.add(c.name, float64(took)/float64(time.Millisecond))
		}
	}
	upstream := float64(burstLatency / time.Millisecond)
	b.report.add("burst500.calls", "500 callers of a cold token: calls upstream", "", calls, exactly(1))
	b.report.add("burst500.last", "500 callers: time of the last answer (upstream: 200 ms)", "ms", last, atMost(upstream+60))
	b.report.add("burst5000.calls", "5,000 callers of a cold token: calls upstream", "", manyCalls, exactly(1))
	b.report.add("burst5000.last", "5,000 callers: time of the last answer (upstream: 200 ms)", "ms", manyLast, atMost(upstream+300))
	return nil
}

// burst opens all connections, and then sends a request for token n on each at the same moment. It
// returns the time until the last response.
func burst(s *server, n, callers int) (time.Duration, error) {
	conns := make([]*conn, callers)
	defer func() {
		for _, c := range conns {
			if c != nil {
				_ = c.Close()
			}
		}
	}()
	for i := range conns {
		c, err := dial(s.url)
		if err != nil {
			return 0, fmt.Errorf("connection %d to %s: %w", i+1, s.name, err)
		}
		conns[i] = c
	}
	time.Sleep(100 * time.Millisecond) // lets the server accept the last connections
	failures := make([]error, callers)
	fire := make(chan struct{})
	var ready, done sync.WaitGroup
	ready.Add(callers)
	for i, c := range conns {
		done.Go(func() {
			ready.Done()
			<-fire
			if failures[i] = c.send(n); failures[i] == nil {
				_, failures[i] = c.receive()
			}
		})
	}
	ready.Wait()
	start := time.Now()
	close(fire)
	done.Wait()
	took := time.Since(start)
	if err := errors.Join(failures...); err != nil {
		text := err.Error()
		return 0, fmt.Errorf("%d callers of %s: %s", callers, s.name, text[:min(len(text), 500)])
	}
	return took, nil
}

// mockCalls returns the number of calls that the stand-in for Instagram received.
func mockCalls(mock *server) (int, error) {
	text, err := page(mock.url + "/__stats")
	if err != nil {
		return 0, err
	}
	var stats struct{ Total int }
	err = json.Unmarshal([]byte(text), &stats)
	return stats.Total, err
}
