package proxy

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// A circuit is one way of asking Meta: an app's grant and, for a code, its redirect_uri. Each has
// its own breaker and slots, so that a circuit whose calls always fail, or that asks for very many
// tokens at once, takes no capacity from the others. The fields of a circuit come only from the
// configuration and from the table in grant.go, so the number of circuits is limited.
type circuit struct {
	app, grant, redirect string
	service              Service // of the app, which a reload may change
}

func circuitOf(c call) circuit { return circuit{c.app.Label, c.grant.name, c.redirect, c.app.Service} }

// circuits holds all circuits. Each is created when it is first used. Reloads carry them over.
type circuits struct {
	options breaker.Options // checked by newCircuits
	slots   int             // of each circuit
	metrics *Metrics
	log     *slog.Logger

	mu  sync.Mutex // protects all
	all map[circuit]*circuitState
}

type circuitState struct {
	*breaker.Breaker
	slots    *slots
	upstream string
}

// newCircuits returns an empty set of circuits, whose breakers will have the options o, except for
// OnChange, which is ignored. Its error names an invalid option.
func newCircuits(o breaker.Options, slots int, m *Metrics, log *slog.Logger) (*circuits, error) {
	if _, err := breaker.New(o); err != nil {
		return nil, err
	}
	return &circuits{options: o, slots: slots, metrics: m, log: log, all: map[circuit]*circuitState{}}, nil
}

// of returns the state of a call's circuit.
func (s *circuits) of(c call) *circuitState {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := circuitOf(c)
	if s.all[key] == nil {
		o, upstream := s.options, c.grant.upstream
		o.OnChange = func(c breaker.Change) { s.changed(key, upstream, c) }
		b, _ := breaker.New(o) // newCircuits has checked the options
		s.all[key] = &circuitState{b, newSlots(s.slots), upstream}
	}
	return s.all[key]
}

// changed counts and logs a change of a breaker. It ignores the last calls of a circuit that a
// reload has removed.
func (s *circuits) changed(of circuit, upstream string, c breaker.Change) {
	s.mu.Lock()
	exists := s.all[of] != nil
	s.mu.Unlock()
	if !exists {
		return
	}
	s.metrics.breakerChanged(of, upstream, c)
	line := []any{"step", "guard", "upstream", upstream, "app", of.app, "grant", of.grant,
		"from", c.From, "to", c.To, "since", c.Since, "probes", c.Probes}
	if c.To == breaker.Open {
		s.log.Warn("breaker changed", line...)
	} else {
		s.log.Info("breaker changed", line...)
	}
}

// outage returns when the longest current outage of an upstream's breakers began, the number of
// probes that all of these breakers have let through since then, and when the last outage ended.
// Each of these is zero if there was no such outage.
func (s *circuits) outage(upstream string) (o breaker.Outage, closedAt time.Time) {
	for _, b := range s.states(upstream) {
		one := b.Outage()
		if o.Probes += one.Probes; !one.Since.IsZero() && (o.Since.IsZero() || one.Since.Before(o.Since)) {
			o.Since = one.Since
		}
		if at := b.ClosedAt(); at.After(closedAt) {
			closedAt = at
		}
	}
	return o, closedAt
}

// states returns the states of an upstream's circuits. An empty name means all upstreams.
func (s *circuits) states(upstream string) (list []*circuitState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.all {
		if upstream == "" || b.upstream == upstream {
			list = append(list, b)
		}
	}
	return list
}

// ofApp returns the states of an app's circuits.
func (s *circuits) ofApp(label string) map[circuit]*circuitState {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := maps.Clone(s.all)
	maps.DeleteFunc(found, func(key circuit, _ *circuitState) bool { return key.app != label })
	return found
}

// inFlight returns the number of calls in flight to an upstream. An empty name means all upstreams.
func (s *circuits) inFlight(upstream string) (n int) {
	for _, b := range s.states(upstream) {
		n += len(b.slots.inFlight)
	}
	return n
}

// worst returns the worst state of an upstream's breakers: open is worse than half-open, and
// half-open is worse than closed. An empty name means all upstreams.
func (s *circuits) worst(upstream string) breaker.State {
	worst := breaker.Closed
	for _, b := range s.states(upstream) { // without the lock, because State may call changed, which takes it
		switch state := b.State(); {
		case state == breaker.Open, state == breaker.HalfOpen && worst == breaker.Closed:
			worst = state
		}
	}
	return worst
}

// retain forgets the circuits of apps and redirect_uris that the configuration no longer has.
func (s *circuits) retain(apps []*app) {
	s.mu.Lock()
	defer s.mu.Unlock()
	exists := func(key circuit) bool {
		return slices.ContainsFunc(apps, func(a *app) bool {
			return a.Label == key.app && a.Service == key.service && (key.redirect == "" || slices.Contains(a.RedirectURIs, key.redirect))
		})
	}
	maps.DeleteFunc(s.all, func(key circuit, _ *circuitState) bool { return !exists(key) })
	s.metrics.outages.endOthers(exists, time.Now())
}
