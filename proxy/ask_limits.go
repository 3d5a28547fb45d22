package proxy

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Rate limits are a pause, not ill health: https://developers.facebook.com/docs/graph-api/overview/rate-limiting.
const (
	defaultPause = time.Minute // when Instagram does not say how long
	maxPause     = time.Hour   // then it is asked again, whatever it said
)

// usage is what Instagram reports of the app's rate limits, handed on as it came.
type usage struct{ app, businessUseCase string }

// maxUsage bounds a usage header, in bytes.
const maxUsage = 4 << 10

func readUsage(h http.Header, scrub func(string) string) usage {
	return usage{app: usageHeader(h, "X-App-Usage", scrub), businessUseCase: usageHeader(h, "X-Business-Use-Case-Usage", scrub)}
}

// usageHeader hands on JSON that repeats neither secret nor token, and nothing else.
func usageHeader(h http.Header, name string, scrub func(string) string) string {
	v := h.Get(name)
	if len(v) > maxUsage || !json.Valid([]byte(v)) || scrub(v) != v {
		return ""
	}
	return v
}

// retryAt is when to ask again after an error of this class; zero when nothing is said.
func retryAt(c class, h http.Header, now time.Time) time.Time {
	at := retryAfter(h, now)
	if c != classAppLimit && c != classUserLimit {
		return at
	}
	if regain := regainAccess(h.Get("X-Business-Use-Case-Usage")); regain > 0 && now.Add(regain).After(at) {
		at = now.Add(regain)
	}
	if at.IsZero() {
		at = now.Add(defaultPause)
	}
	if latest := now.Add(maxPause); at.After(latest) {
		at = latest
	}
	return at
}

// retryAfter reads Retry-After, RFC 9110 section 10.2.3: seconds or a date. No time at all says nothing: a rate limit is no invitation to
// ask again at once.
func retryAfter(h http.Header, now time.Time) time.Time {
	v := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(v, 10, 64); err == nil && seconds > 0 {
		return now.Add(time.Duration(min(seconds, uint64(maxPause/time.Second))) * time.Second)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return minTime(at, now.Add(maxPause))
	}
	return time.Time{}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// regainAccess is the longest estimated_time_to_regain_access, which Meta gives in minutes.
func regainAccess(header string) time.Duration {
	var cases map[string][]struct {
		Minutes float64 `json:"estimated_time_to_regain_access"`
	}
	if len(header) > maxUsage || json.Unmarshal([]byte(header), &cases) != nil {
		return 0
	}
	var longest time.Duration
	for _, list := range cases {
		for _, c := range list {
			if c.Minutes > 0 {
				longest = max(longest, time.Duration(min(c.Minutes, maxPause.Minutes())*float64(time.Minute)))
			}
		}
	}
	return longest
}
