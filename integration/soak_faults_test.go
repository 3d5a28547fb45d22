package integration

// This file has the faults of a soak, the checks during the soak, and the limits on what the soak
// may leave behind.

import (
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// disturbances lists the faults by name. Each fault ends by itself, except "clients hang": the
// method calm closes the connections of these clients.
var disturbances = []struct {
	name string
	does func(*soak)
}{
	{"redis hangs", func(s *soak) { s.redis.Pause(); s.while(); s.redis.Resume() }},
	{"redis dies", func(s *soak) { s.redis.Kill(); s.while(); s.redis.Restart() }},
	{"redis forgets", func(s *soak) { s.redis.Do("FLUSHALL") }},
	{"redis swaps values", func(s *soak) { s.redis.Shuffle() }},
	{"redis lies", func(s *soak) {
		s.liar.SetLie(redistest.Lies[s.rng.IntN(len(redistest.Lies))], 3)
		s.while()
		s.liar.SetLie(redistest.Truth, 1)
	}},
	{"instagram fails", func(s *soak) {
		faults := []string{"down", "unknown", "html", "hang", "hangbody", "reset", "close", "garbageline", "badjson", "truncated", "slow", "expired", "limit17"}
		s.ig.SetFault(faults[s.rng.IntN(len(faults))])
		s.while()
		s.ig.SetFault("")
	}},
	{"instagram is slow", func(s *soak) {
		s.ig.SetLatency(time.Duration(s.rng.IntN(300)) * time.Millisecond)
		s.while()
		s.ig.SetLatency(0)
	}},
	{"clients hang", (*soak).hang},
	{"a SIGHUP", func(s *soak) {
		_ = s.sidecars[s.rng.IntN(len(s.sidecars))].process.Load().Cmd.Process.Signal(syscall.SIGHUP)
	}},
	{"a restart", func(s *soak) { s.restart(syscall.SIGTERM) }},
	{"a death", func(s *soak) { s.restart(syscall.SIGKILL) }},
}

// disturb causes one of the faults that have happened least often, chosen at random. So every fault
// happens before any is repeated.
func (s *soak) disturb() {
	fewest := -1
	var due []int
	for i, d := range disturbances {
		switch n := s.happened[d.name]; {
		case fewest < 0 || n < fewest:
			fewest, due = n, []int{i}
		case n == fewest:
			due = append(due, i)
		}
	}
	d := disturbances[due[s.rng.IntN(len(due))]]
	s.happened[d.name]++
	d.does(s)
	s.while()
}

// while waits for a random time of less than 300 ms.
func (s *soak) while() { time.Sleep(time.Duration(50+s.rng.IntN(250)) * time.Millisecond) }

// hang opens connections that send half a request, or send many requests and read nothing.
func (s *soak) hang() {
	p := s.sidecars[s.rng.IntN(len(s.sidecars))].process.Load()
	for i := range 60 {
		c, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
		if err != nil {
			s.t.Errorf("a connection was refused: %v", err)
			return
		}
		s.strays = append(s.strays, c)
		text := "GET /access_token?grant"
		if i%10 == 0 {
			text = strings.Repeat(rawExchange(s.token(i)), 20)
		}
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = io.WriteString(c, text)
	}
}

// restart replaces a random sidecar, but never the first: its leaks add up over the whole soak.
func (s *soak) restart(by syscall.Signal) {
	seat := s.sidecars[1+s.rng.IntN(len(s.sidecars)-1)]
	p := seat.process.Load()
	seat.epoch.Add(1)
	_ = p.Cmd.Process.Signal(by)
	if code := p.Wait(s.t); by == syscall.SIGTERM && code != 0 {
		s.t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	s.searchIn("the log", p.Log.Take())
	seat.process.Store(s.start())
	seat.epoch.Add(1)
}

// search searches the logs, the metrics and Redis for secrets.
func (s *soak) search() {
	for _, seat := range s.sidecars {
		s.searchIn("the log", seat.process.Load().Log.Take())
		s.searchIn("/metrics", seat.process.Load().page(s.t, "/metrics").body)
	}
	var stored strings.Builder
	for k, v := range s.redis.Dump() {
		fmt.Fprintln(&stored, k, v)
	}
	s.searchIn("redis", stored.String())
}

func (s *soak) searchIn(place, text string) {
	for _, what := range s.found(text) {
		s.t.Errorf("%s contains %s", place, what)
	}
}

func (s *soak) found(text string) (what []string) {
	for name, needle := range s.needles {
		if i := strings.Index(text, needle); i >= 0 {
			what = append(what, fmt.Sprintf("%s: %.300q", name, text[max(0, i-100):]))
		}
	}
	if s.long.MatchString(text) {
		what = append(what, "a long-lived token")
	}
	return what
}

// calm closes the connections of the hanging clients and waits until every sidecar has recovered.
func (s *soak) calm() {
	for _, c := range s.strays {
		_ = c.Close()
	}
	s.strays = nil
	n := 0
	for i, seat := range s.sidecars {
		p := seat.process.Load()
		eventually(s.t, fmt.Sprintf("sidecar %d has recovered", i), func() bool {
			n++
			r, err := fetch(s.t.Context(), s.client, p.URL+exchangePath(fmt.Sprintf("IGAA-%s-calm-%d-%d", soakCanary, i, n)))
			ready := p.page(s.t, "/readyz").body
			return err == nil && r.status == 200 && strings.Contains(ready, `"breaker":"closed"`) && strings.Contains(ready, `"redis":"ok"`)
		})
	}
}

// usage counts the resources that an idle sidecar uses.
type usage struct {
	goroutines  float64
	descriptors int
	memory      int // in bytes
}

// measure returns the usage of a sidecar. If quiet is true, it first closes the test's idle
// connections and waits until no exchange is in flight.
func (s *soak) measure(p *process, quiet bool) (u usage) {
	if quiet {
		s.client.CloseIdleConnections()
		eventually(s.t, "no exchange is in flight", func() bool {
			return p.metric(s.t, "igproxy_flights") == 0 && p.metric(s.t, "igproxy_upstream_in_flight") == 0
		})
	}
	return usage{p.metric(s.t, "go_goroutines"), p.descriptors(s.t), p.memory(s.t)}
}

// afterwards checks that every sidecar answers without errors and uses little more than the
// parameter before, the usage of the first sidecar before the faults.
func (s *soak) afterwards(before usage) {
	s.t.Helper()
	// The same burst ran before the faults, so the usage can be compared. On a slow machine, some
	// calls of the burst time out, so only the requests after it must succeed.
	s.burst("after")
	const each = 32 // requests to each sidecar, one after the other
	failed := s.errors.Load()
	crowd(len(s.sidecars), func(sidecar int) {
		for i := range each {
			s.ask(sidecar, fmt.Sprintf("afterwards-%d", sidecar), i)
		}
	})
	if failed = s.errors.Load() - failed; failed > 0 {
		s.t.Errorf("after all faults had ended: %d of %d requests got an error, want 0", failed, each*len(s.sidecars))
	}
	s.search()
	var after usage
	for i, seat := range s.sidecars {
		p := seat.process.Load()
		s.client.CloseIdleConnections()
		eventually(s.t, fmt.Sprintf("sidecar %d uses about %+v, as before the faults; the first measurement after the faults is %+v", i, before, s.measure(p, true)), func() bool {
			after = s.measure(p, false)
			// Idle connections are not leaks: at most soakPool to Redis, and at most soakInFlight
			// to Instagram, with two goroutines for each connection to Instagram.
			return after.goroutines <= before.goroutines+10+2*soakInFlight && after.descriptors <= before.descriptors+soakPool+soakInFlight
		})
		s.t.Logf("sidecar %d: before %+v, after %+v", i, before, after)
		// The limit allows for the race detector, which multiplies memory by about eight.
		if grown := after.memory - before.memory; grown > 96<<20 {
			s.t.Errorf("the memory of sidecar %d has grown by %d MiB, want at most 96", i, grown>>20)
		}
		if i == 0 && p.Cmd.ProcessState != nil {
			s.t.Error("the first sidecar has ended")
		}
	}
}
