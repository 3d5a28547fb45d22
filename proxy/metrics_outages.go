package proxy

import (
	"slices"
	"sync"
	"time"

	"github.com/igproxy/igproxy/breaker"
)

// Outage is a period during which at least one breaker of an upstream was open or half-open, or
// during which Redis was not used because it had failed.
type Outage struct {
	Of     string    `json:"of"` // instagram, login, threads, facebook or redis
	Start  time.Time `json:"start"`
	End    time.Time `json:"end,omitzero"` // zero: the outage continues
	Probes int       `json:"probes"`       // calls that tested whether the outage was over; not counted for redis
	// Breakers lists the app and the grant of each breaker. It is empty for redis.
	Breakers []string `json:"breakers,omitempty"`
}

// circuitOutage is an Outage of one breaker or of Redis.
type circuitOutage struct {
	Outage
	circuit circuit // of the breaker; zero for Redis
}

// maxOutages is how many outages are kept. Overlapping outages of different breakers count
// separately, because only Proxy.Outages merges them.
const maxOutages = 64

// outages keeps the last outages.
type outages struct {
	mu   sync.Mutex      // protects list
	list []circuitOutage // in the order in which they began
}

// change records a change of the state of a breaker or of Redis.
func (s *outages) change(of circuit, upstream string, c breaker.Change, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.list, func(o circuitOutage) bool { return o.circuit == of && o.Of == upstream && o.End.IsZero() })
	if i < 0 {
		if c.To == breaker.Closed {
			return
		}
		s.list = append(s.list, circuitOutage{Outage{Of: upstream, Start: c.Since}, of})
		s.list = slices.Delete(s.list, 0, max(0, len(s.list)-maxOutages))
		return
	}
	if s.list[i].Probes = c.Probes; c.To == breaker.Closed {
		s.list[i].End = now
	}
}

// endOthers ends the outages of breakers that no longer exist.
func (s *outages) endOthers(exists func(circuit) bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.list {
		if o := &s.list[i]; o.End.IsZero() && o.Of != outageOfRedis && !exists(o.circuit) {
			o.End = now
		}
	}
}

// outageOfRedis is the value of Outage.Of for Redis.
const outageOfRedis = "redis"

// redis records whether Redis is used.
func (s *outages) redis(ok bool, now time.Time) {
	c := breaker.Change{To: breaker.Open, Outage: breaker.Outage{Since: now}}
	if ok {
		c.To = breaker.Closed
	}
	s.change(circuit{}, outageOfRedis, c, now)
}

// Outages returns the last outages, the latest first. Overlapping outages of the breakers of one
// upstream are returned as one.
func (p *Proxy) Outages() []Outage {
	s := &p.carried.metrics.outages
	s.mu.Lock()
	defer s.mu.Unlock()
	list := []Outage{}
	for _, o := range s.list {
		name := o.circuit.app + " " + o.circuit.grant
		i := slices.IndexFunc(list, func(one Outage) bool {
			return one.Of == o.Of && (one.End.IsZero() || !one.End.Before(o.Start))
		})
		if i < 0 {
			list = slices.Insert(list, 0, Outage{Of: o.Of, Start: o.Start, End: o.Start})
			i = 0
		}
		one := &list[i]
		one.Probes += o.Probes
		if o.End.IsZero() || !one.End.IsZero() && o.End.After(one.End) {
			one.End = o.End
		}
		if o.Of != outageOfRedis && !slices.Contains(one.Breakers, name) {
			one.Breakers = append(one.Breakers, name)
		}
	}
	return list
}
