package proxy

import (
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/proxy/graph"
)

// history is what no counter tells: when the breakers changed, and what Instagram said of the rate limits.
type history struct {
	refused atomic.Bool // the last reload

	mu      sync.Mutex // protects what is below; nothing is called while it is held
	changes map[string][]Change
	limits  map[string]saidOf
}

// maxChanges bounds what is kept of each breaker.
const maxChanges = 20

// Change is one of a breaker's.
type Change struct {
	At time.Time     `json:"at"`
	To breaker.State `json:"to"`
}

// Limits are what Instagram said of an app's rate limits within the hour: numbers, and none of the ids they came with. All but the minutes are per
// cent of what the app may use.
type Limits struct {
	App      string             `json:"app"`
	At       time.Time          `json:"at"`
	Usage    map[string]float64 `json:"usage,omitempty"`          // X-App-Usage
	Business map[string]float64 `json:"business_use,omitempty"`   // X-Business-Use-Case-Usage: the highest of its cases
	Regain   float64            `json:"regain_minutes,omitempty"` // from now until access comes back
}

// usageKinds are the members believed, of both headers.
var usageKinds = []string{"call_count", "call_volume", "total_cputime", "cpu_time", "total_time"}

func (h *history) changed(upstream string, to breaker.State, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.changes == nil {
		h.changes = map[string][]Change{}
	}
	list := h.changes[upstream]
	if len(list) > 0 && list[len(list)-1].To == to { // another breaker of the upstream is worse
		return
	}
	list = append(list, Change{at, to})
	h.changes[upstream] = list[max(0, len(list)-maxChanges):]
}

// of are an upstream's changes, the latest first.
func (h *history) of(upstream string) []Change {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Clone(h.changes[upstream])
	slices.Reverse(list)
	return list
}

// maxUsageAge is how long what was said of a limit is believed: they are all of rolling hours.
const maxUsageAge = time.Hour

// saidOf is what was said last of an app's limits; each header is of its own, and comes without the other.
type saidOf struct{ usage, business Limits }

func (h *history) said(l Limits) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.limits == nil {
		h.limits = map[string]saidOf{}
	}
	all := h.limits[l.App]
	if l.Usage != nil {
		all.usage = Limits{App: l.App, At: l.At, Usage: l.Usage}
	}
	if l.Business != nil || l.Regain > 0 {
		all.business = Limits{App: l.App, At: l.At, Business: l.Business, Regain: l.Regain}
	}
	h.limits[l.App] = all
}

// at is what is true of them now: nothing of long ago, and the minutes that are left.
func (s saidOf) at(now time.Time) (l Limits, ok bool) {
	if now.Sub(s.usage.At) < maxUsageAge {
		l, ok = s.usage, true
	}
	if age := now.Sub(s.business.At); age < maxUsageAge {
		l.App, l.Business, l.Regain = s.business.App, s.business.Business, math.Ceil(max(0, s.business.Regain-age.Minutes()))
		if ok = true; s.business.At.After(l.At) {
			l.At = s.business.At
		}
	}
	return l, ok
}

// all are each app's limits, by the apps' names.
func (h *history) all(now time.Time) (list []Limits) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for app, said := range h.limits {
		if l, ok := said.at(now); ok {
			list = append(list, l)
		} else {
			delete(h.limits, app)
		}
	}
	slices.SortFunc(list, func(a, b Limits) int { return strings.Compare(a.App, b.App) })
	return list
}

// readLimits reads both headers; not ok, where there are no numbers in them.
func readLimits(app string, h http.Header, now time.Time) (l Limits, ok bool) {
	l = Limits{App: app, At: now}
	if text := h.Get("X-App-Usage"); text != "" && len(text) <= graph.MaxUsage {
		var members map[string]any
		_ = json.Unmarshal([]byte(text), &members) // what is no JSON has no numbers
		l.Usage = highest(nil, members)
	}
	if text := h.Get("X-Business-Use-Case-Usage"); text != "" && len(text) <= graph.MaxUsage {
		var cases map[string][]map[string]any
		_ = json.Unmarshal([]byte(text), &cases)
		for _, list := range cases {
			for _, members := range list {
				l.Business = highest(l.Business, members)
			}
		}
		l.Regain = math.Ceil(graph.RegainAccess(text).Minutes())
	}
	return l, l.Usage != nil || l.Business != nil || l.Regain > 0
}

// highest keeps the larger of each number.
func highest(have map[string]float64, members map[string]any) map[string]float64 {
	for _, kind := range usageKinds {
		n, ok := members[kind].(float64)
		if !ok || n < 0 {
			continue
		}
		if have == nil {
			have = map[string]float64{}
		}
		have[kind] = max(have[kind], min(n, 1e6))
	}
	return have
}
