package admin

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// Clock returns a time as text, in the sidecar's time zone, which the log uses too. It adds the
// date if the time is not today. For the zero time it returns –.
func (s *Status) Clock(t time.Time) string {
	now, t := s.Now, t.In(s.Now.Location())
	if t.IsZero() {
		return "–"
	}
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

// Name returns the host and the version in words.
func (s *Status) Name() string { return "host " + s.Host + ", version " + s.Version }

// Readiness returns ready, draining or not ready.
func (s *Status) Readiness() string {
	switch {
	case s.State.Draining:
		return "draining"
	case s.State.Ready:
		return "ready"
	}
	return "not ready"
}

// Median returns P50 in words, such as "below 5 ms".
func (l Latency) Median() string { return bound(l.Count, l.P50) }

// Most returns P99 in words, such as "below 5 ms".
func (l Latency) Most() string { return bound(l.Count, l.P99) }

// bound returns P50 or P99 of a Latency in words.
func bound(count uint64, ms *float64) string {
	switch {
	case count == 0:
		return "–"
	case ms == nil:
		return "over 10 s" // 10 s is the highest bound of each histogram
	case *ms < 1000:
		return fmt.Sprintf("below %g ms", *ms)
	}
	return fmt.Sprintf("below %g s", *ms/1000)
}

// UpstreamName returns the name of an upstream, or of Redis, in words.
func UpstreamName(name string) string {
	return cmp.Or(map[string]string{"instagram": "Instagram", "login": "Instagram's login host", "threads": "Threads", "facebook": "Facebook", "redis": "Redis"}[name], name)
}

// OutcomesInWords returns the number of requests in a group, and each outcome in it with its count
// and meaning.
func (s *Status) OutcomesInWords(g Group) string {
	sum, list := uint64(0), []string{}
	for _, o := range g.Outcomes {
		if n := s.Requests.ByOutcome[o]; n > 0 {
			sum += n
			list = append(list, fmt.Sprintf("%s %d (%s)", o, n, meanings[o]))
		}
	}
	if sum == 0 {
		return "0"
	}
	return fmt.Sprintf("%d: %s", sum, strings.Join(list, ", "))
}

// CallsInWords returns the results of the token calls to Meta, each with its count and meaning.
func (s *Status) CallsInWords() string {
	var list []string
	for _, c := range s.calls() {
		list = append(list, fmt.Sprintf("%s %s (%s)", c.Name, c.Count, c.Meaning))
	}
	return cmp.Or(strings.Join(list, ", "), "none")
}

// FaultsInWords returns the faults of Redis, one text for each operation.
func (s *Status) FaultsInWords() (list []string) {
	byOperation := map[string][]string{}
	for _, fault := range sortedKeys(s.RedisFaults) {
		operation, kind, _ := strings.Cut(fault, " ")
		n := s.RedisFaults[fault]
		byOperation[operation] = append(byOperation[operation], fmt.Sprintf("%d %s", n, cmp.Or(faultWords[kind], kind)))
	}
	for _, operation := range slices.Sorted(maps.Keys(byOperation)) {
		list = append(list, cmp.Or(operationWords[operation], operation)+": "+strings.Join(byOperation[operation], ", "))
	}
	return list
}

// operationWords explain the operations on Redis whose names do not explain themselves. The
// operation "purge" includes the checks for purges by other sidecars, so a fault of this operation
// does not mean that an operator purged anything.
var operationWords = map[string]string{"claim": "claim (ask for an answer, or for the right to call Meta)", "load": "load (read a record)", "publish": "publish (store an answer or a record)",
	"purge": "purge (or check for purges)", "renew": "renew (a lease)", "release": "release (a lease)", "revoke": "revoke (forget a refused token)"}

// faultWords explain the kinds of Redis faults whose names do not explain themselves.
var faultWords = map[string]string{
	"open": "not sent (Redis had failed)", "backlog": "not sent (too many were waiting)",
	"refused": "connection refused", "timeout": "timed out", "pool": "no free connection",
	"broken": "connection broken", "resolve": "name not resolved", "oom": "Redis out of memory", "auth": "not authenticated",
	"permission": "not permitted", "desync": "wrong reply", "oversize": "reply too large", "maxclients": "too many clients",
	"clusterdown": "cluster down", "noreplicas": "too few replicas", "other": "other fault",
}

// highest returns the name of the rate limit that the app has used most, and the used share in
// percent.
func highest(l proxy.RateLimit) (kind string, percent float64) {
	for _, used := range []map[string]float64{l.Usage, l.Business} {
		for _, name := range slices.Sorted(maps.Keys(used)) {
			if used[name] > percent || kind == "" {
				kind, percent = strings.ReplaceAll(name, "_", " "), used[name]
			}
		}
	}
	return kind, percent
}

func plural[N int | uint64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// thousands returns a number with its digits in groups of three.
func thousands[N int | uint64](n N) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// span returns a duration in one or two units.
func span(d time.Duration) string {
	s := int(d.Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
	}
	return fmt.Sprintf("%d d %d h", s/86400, s/3600%24)
}

func sortedKeys(counts map[string]uint64) []string { return slices.Sorted(maps.Keys(counts)) }
