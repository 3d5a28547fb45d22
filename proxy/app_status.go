package proxy

import (
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/keep"
)

// AppStatus is the current state of one app.
type AppStatus struct {
	Name         string  `json:"name"`
	Service      Service `json:"service"`
	ClientSecret string  `json:"client_secret"` // unproven, accepted or refused
	Hold         *Hold   `json:"hold"`          // null: token calls are not paused
	// Breaker is the worst state among the breakers of the app. If it is not closed, NotClosed
	// lists the grants whose breakers are in this state.
	Breaker   breaker.State `json:"breaker"`
	NotClosed []string      `json:"not_closed,omitempty"`
	InFlight  int           `json:"in_flight"`      // token calls to Meta
	Keep      *keep.Status  `json:"keep,omitempty"` // absent: igproxy does not keep tokens alive
}

// Hold is the current pause of an app.
type Hold struct {
	Until time.Time `json:"until"`
	Why   string    `json:"why"`
	// Resumable is true if POST /resume ends the pause.
	Resumable bool `json:"resumable"`
}

// Apps returns the current state of every app, in the order of the configuration.
func (p *Proxy) Apps() (list []AppStatus) {
	now := time.Now()
	e := p.current.Load()
	for _, a := range e.apps {
		s := AppStatus{Name: a.Label, Service: a.Service, ClientSecret: a.state.secrets.standing(), Breaker: breaker.Closed}
		if e := a.paused(now); e != nil {
			s.Hold = &Hold{e.RetryAt, classCauses[e.Class], e.Class == graph.ClassAppLimit}
		}
		for key, b := range p.carried.circuits.ofApp(a.Label) {
			s.InFlight += len(b.slots.inFlight)
			switch state := b.State(); {
			case state == breaker.Closed, state == breaker.HalfOpen && s.Breaker == breaker.Open:
			case state != s.Breaker:
				s.Breaker, s.NotClosed = state, []string{key.grant}
			case !slices.Contains(s.NotClosed, key.grant):
				s.NotClosed = append(s.NotClosed, key.grant)
			}
		}
		slices.SortFunc(s.NotClosed, strings.Compare)
		if e.keep != nil {
			kept := e.keep.keeper.Status(a.Label)
			s.Keep = &kept
		}
		list = append(list, s)
	}
	return list
}
