package proxy

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// circuit identifies a kind of call to Meta: an app, a grant and, for a code, the redirect_uri.
// Each circuit has its own breaker and slots. So a circuit that always fails, or that has very many
// calls at once, takes no capacity from the others. The fields of a circuit come only from the
// configuration and from the table in grant.go, so the number of circuits is limited.
type circuit struct {
	app, grant, redirect string
	service              Service // the app's service, which a reload may change
}

func circuitOf(c call) circuit { return circuit{c.app.Label, c.grant.name, c.redirect, c.app.Service} }

// circuits holds all circuits. Each is created when it is first used. A reload carries them over,
// except those that retain removes.
type circuits struct {
	options breaker.Options // valid: newCircuits has checked them
	slots   int             // the number of slots of each circuit
	metrics *Metrics
	log     *slog.Logger

	mu  sync.Mutex // protects the map all
	all map[circuit]*circuitState
}

type circuitState struct {
	*breaker.Breaker
	slots    *slots
	upstream string // the name of the upstream, as in the metrics
}

// newCircuits returns an empty set of circuits. Their breakers get the options o, except for
// o.OnChange, which is ignored. If an option is invalid, newCircuits returns an error.
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
		b, _ := breaker.New(o) // the options are valid
		s.all[key] = &circuitState{b, newSlots(s.slots), upstream}
	}
	return s.all[key]
}

// changed counts and logs a change of a breaker. It ignores a change that comes after a reload has
// removed the circuit.
func (s *circuits) changed(of circuit, upstream string, c breaker.Change) {
	s.mu.Lock()
	exists := s.all[of] != nil
	s.mu.Unlock()
	if !exists {
		return
	}
	s.metrics.breakerChanged(of, upstream, c)
	line := []any{"upstream", upstream, "app", of.app, "grant", of.grant,
		"from", c.From, "to", c.To, "since", c.Since, "probes", c.Probes}
	if c.To == breaker.Open {
		s.log.Warn("breaker changed", line...)
	} else {
		s.log.Info("breaker changed", line...)
	}
}

// outage sums up the outages of an upstream's breakers. o.Since is when the longest of the current
// outages began, and o.Probes is the number of probes in all current outages. Both are zero if
// there is no current outage. closedAt is when a breaker without a current outage last closed. It
// is zero if no such breaker has had an outage.
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
	// The lock must be free here, because State may call changed, which takes the lock.
	for _, b := range s.states(upstream) {
		switch state := b.State(); {
		case state == breaker.Open, state == breaker.HalfOpen && worst == breaker.Closed:
			worst = state
		}
	}
	return worst
}

// retain removes the circuits of apps and redirect_uris that the configuration no longer has, and
// the circuits of apps whose service has changed. It also ends the outages of these circuits.
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
