package proxy

import (
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// Upstream is the state of one of Meta's hosts.
type Upstream struct {
	Name        string        `json:"name"` // instagram, login or threads
	InFlight    int           `json:"in_flight"`
	MaxInFlight int           `json:"max_in_flight"`  // limit of each app and grant
	Breaker     breaker.State `json:"breaker"`        // the worst state of its breakers
	Since       time.Time     `json:"since,omitzero"` // when Breaker last changed; zero: never
}

// Upstreams returns the current state of every upstream, always in the same order.
func (p *Proxy) Upstreams() (list []Upstream) {
	c := p.carried.circuits
	for _, name := range upstreams {
		list = append(list, Upstream{Name: name, InFlight: c.inFlight(name), MaxInFlight: c.places,
			Breaker: c.worst(name), Since: c.since(name)})
	}
	return list
}
