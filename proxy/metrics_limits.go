package proxy

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// RateLimit is what Meta last reported about an app's rate limits, within the hour: numbers only,
// without the ids they came with. All but the minutes are percentages of what the app may use.
type RateLimit struct {
	App      string             `json:"app"`
	At       time.Time          `json:"at"`
	Usage    map[string]float64 `json:"usage,omitempty"`          // X-App-Usage
	Business map[string]float64 `json:"business_use,omitempty"`   // X-Business-Use-Case-Usage: the highest of its cases
	Regain   float64            `json:"regain_minutes,omitempty"` // until the app has access again
}

// RateLimits returns the current rate limits of the apps for which Meta reported any, sorted by
// app.
func (p *Proxy) RateLimits() []RateLimit { return p.carried.metrics.usage.all(time.Now()) }

// usageKinds are the members that are read, of both headers.
var usageKinds = []string{"call_count", "call_volume", "total_cputime", "cpu_time", "total_time"}

// maxUsageAge is how long a report is used: Meta's limits apply to rolling hours.
const maxUsageAge = time.Hour

// rateLimits keeps the last report of each app.
type rateLimits struct {
	mu   sync.Mutex // protects last
	last map[string]usageReport
}

// usageReport is what each of the two headers last reported. A reply may have only one of them.
type usageReport struct{ usage, business RateLimit }

func (s *rateLimits) note(l RateLimit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]usageReport{}
	}
	r := s.last[l.App]
	if l.Usage != nil {
		r.usage = l
	}
	if l.Business != nil || l.Regain > 0 {
		r.business = l
	}
	s.last[l.App] = r
}

// all returns every app's current rate limits with the minutes left, sorted by app.
func (s *rateLimits) all(now time.Time) (list []RateLimit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for app, r := range s.last {
		l := RateLimit{App: app}
		if now.Sub(r.usage.At) < maxUsageAge {
			l.At, l.Usage = r.usage.At, r.usage.Usage
		}
		if age := now.Sub(r.business.At); age < maxUsageAge {
			l.Business, l.Regain = r.business.Business, math.Ceil(max(0, r.business.Regain-age.Minutes()))
			if l.At.Before(r.business.At) {
				l.At = r.business.At
			}
		}
		if !l.At.IsZero() {
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b RateLimit) int { return strings.Compare(a.App, b.App) })
	return list
}

// readRateLimit reads both headers. It reports false if they hold no numbers.
func readRateLimit(app string, h http.Header, now time.Time) (l RateLimit, ok bool) {
	l = RateLimit{App: app, At: now}
	if text := h.Get("X-App-Usage"); len(text) <= graph.MaxUsage {
		var members map[string]any
		_ = json.Unmarshal([]byte(text), &members) // other text has no numbers
		l.Usage = mergeUsage(nil, members)
	}
	if text := h.Get("X-Business-Use-Case-Usage"); len(text) <= graph.MaxUsage {
		var cases map[string][]map[string]any
		_ = json.Unmarshal([]byte(text), &cases)
		for _, list := range cases {
			for _, members := range list {
				l.Business = mergeUsage(l.Business, members)
			}
		}
		l.Regain = math.Ceil(graph.RegainAccess(text).Minutes())
	}
	return l, l.Usage != nil || l.Business != nil || l.Regain > 0
}

// mergeUsage keeps the larger of each number. highest may be nil.
func mergeUsage(highest map[string]float64, members map[string]any) map[string]float64 {
	for _, kind := range usageKinds {
		n, ok := members[kind].(float64)
		if !ok || n < 0 {
			continue
		}
		if highest == nil {
			highest = map[string]float64{}
		}
		highest[kind] = max(highest[kind], min(n, 1e6))
	}
	return highest
}
