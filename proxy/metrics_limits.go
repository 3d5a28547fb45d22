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

// RateLimit is what Meta last reported about an app's rate limits, within the past hour. It holds
// only numbers, without the IDs that came with them. All numbers except the minutes are percentages
// of what the app may use.
type RateLimit struct {
	App      string             `json:"app"`
	At       time.Time          `json:"at"`                       // when the latest report came
	Usage    map[string]float64 `json:"usage,omitempty"`          // X-App-Usage
	Business map[string]float64 `json:"business_use,omitempty"`   // X-Business-Use-Case-Usage: the highest of each kind
	Regain   float64            `json:"regain_minutes,omitempty"` // minutes until the app has access again
}

// RateLimits returns the current rate limits of the apps for which Meta reported any, sorted by
// app.
func (p *Proxy) RateLimits() []RateLimit { return p.carried.metrics.limits.all(time.Now()) }

// usageKinds are the kinds of numbers that igproxy reads from X-App-Usage and from
// X-Business-Use-Case-Usage. Each is a member of a JSON object.
var usageKinds = []string{"call_count", "call_volume", "total_cputime", "cpu_time", "total_time"}

// maxUsageAge is how long a report is used. Meta's limits apply to a rolling hour.
const maxUsageAge = time.Hour

// rateLimits keeps, for each app, the last report in X-App-Usage and the last report in
// X-Business-Use-Case-Usage. It keeps them apart, because a response may have only one of these
// headers.
type rateLimits struct {
	mu   sync.Mutex // protects last
	last map[string]usageReport
}

type usageReport struct{ usage, business RateLimit }

// note records the numbers in the headers of Meta's response to a call of the app.
func (s *rateLimits) note(app string, h http.Header) {
	now := time.Now()
	usage, business := RateLimit{At: now}, RateLimit{At: now}
	var members map[string]any
	if text := h.Get("X-App-Usage"); len(text) <= graph.MaxUsage {
		_ = json.Unmarshal([]byte(text), &members) // text that is not JSON has no numbers
		usage.Usage = mergeUsage(nil, members)
	}
	var cases map[string][]map[string]any
	if text := h.Get("X-Business-Use-Case-Usage"); len(text) <= graph.MaxUsage {
		_ = json.Unmarshal([]byte(text), &cases)
		for _, list := range cases {
			for _, members := range list {
				business.Business = mergeUsage(business.Business, members)
			}
		}
		business.Regain = math.Ceil(graph.RegainAccess(text).Minutes())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.last[app]
	if usage.Usage != nil {
		last.usage = usage
	}
	if business.Business != nil || business.Regain > 0 {
		last.business = business
	}
	s.last[app] = last
}

// forget forgets what the headers reported about an app.
func (s *rateLimits) forget(app string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.last, app)
}

// all returns the current rate limits of all apps, sorted by app. Regain is the number of minutes
// that are still left at the time now.
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

// mergeUsage raises each number in highest for which members has a larger one, and returns the map.
// If highest is nil, mergeUsage makes a new map, or returns nil if members has no valid number.
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
