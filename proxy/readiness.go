package proxy

import (
	"cmp"
	"strings"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// Readiness says whether a Proxy should get traffic, and why. /readyz returns it as JSON.
type Readiness struct {
	Ready        bool          `json:"ready"`
	Draining     bool          `json:"draining"`
	ClientSecret string        `json:"client_secret"`         // see clientSecretState
	Breaker      breaker.State `json:"breaker"`               // the worst state of all breakers
	Redis        string        `json:"redis"`                 // "ok", "degraded" or "off"
	RedisFault   string        `json:"redis_fault,omitempty"` // the kind of the last fault; "" unless degraded
	RedisSince   time.Time     `json:"redis_since,omitzero"`  // when Redis became degraded
	Flights      int64         `json:"flights"`
	Entries      int           `json:"entries"` // in the memory tier
}

// Readiness returns the current readiness. The Proxy stays ready while a breaker is open or Redis
// fails, because known tokens are still served. It also stays ready while Meta refuses the client
// secrets of some apps, but not while Meta refuses those of all apps. With CheckSecretsAtStart, the
// Proxy is not ready until the first tests of CheckSecrets have ended. It then becomes ready even
// if Meta has not answered them. With ReadyWhenRefused, the secrets and their tests have no effect
// on Ready.
func (p *Proxy) Readiness() Readiness {
	health := p.carried.cache.Health()
	r := Readiness{
		Draining:   p.draining.Load(),
		Breaker:    p.carried.circuits.worst(""),
		Redis:      health.State,
		RedisFault: health.Kind,
		RedisSince: health.Since,
		Flights:    p.carried.flights.running.Load(),
		Entries:    p.carried.cache.Len(),
	}
	e := p.current.Load()
	labels := map[string][]string{} // by the state of their secrets
	for _, a := range e.apps {
		state := a.state.secrets.standing()
		labels[state] = append(labels[state], a.Label)
	}
	r.ClientSecret = clientSecretState(labels, len(e.apps))
	usable := len(labels[secretRefused]) < len(e.apps) && (p.checked.Load() || !e.checkSecrets)
	r.Ready = !r.Draining && (usable || e.readyWhenRefused)
	return r
}

// clientSecretState returns the worst state of the secrets of all apps: "unproven", "accepted" or
// "refused". If only some of the apps are in that state, their labels follow, as in "refused: shop,
// club".
func clientSecretState(labels map[string][]string, apps int) string {
	for _, state := range []string{secretRefused, secretUnproven} {
		switch n := len(labels[state]); {
		case n == apps:
			return state
		case n > 0:
			return state + ": " + strings.Join(labels[state], ", ")
		}
	}
	return secretAccepted
}

// Upstream is the state of one of Meta's hosts.
type Upstream struct {
	Name        string        `json:"name"`          // instagram, login, threads or facebook
	InFlight    int           `json:"in_flight"`     // of all apps and grants together
	MaxInFlight int           `json:"max_in_flight"` // for each app and grant
	Breaker     breaker.State `json:"breaker"`       // the worst state of its breakers
	// Since is when the longest current outage of a breaker began. If all breakers are closed, it
	// is when the last outage ended. Zero: there was no outage.
	Since  time.Time `json:"since,omitzero"`
	Probes int       `json:"probes"` // calls that were let through during the current outages
}

// Upstreams returns the current state of every upstream, always in the same order.
func (p *Proxy) Upstreams() (list []Upstream) {
	c := p.carried.circuits
	for _, name := range upstreams {
		o, closedAt := c.outage(name)
		list = append(list, Upstream{Name: name, InFlight: c.inFlight(name), MaxInFlight: c.slots,
			Breaker: c.worst(name), Since: cmp.Or(o.Since, closedAt), Probes: o.Probes})
	}
	return list
}
