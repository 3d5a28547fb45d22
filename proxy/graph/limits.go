package graph

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// Rate limits are a pause and not a failure: https://developers.facebook.com/docs/graph-api/overview/rate-limiting.
const (
	DefaultPause = time.Minute // when Meta does not say how long
	MaxPause     = time.Hour   // then Meta is asked again, whatever it said
)

// Usage is what Meta reports about an app's rate limits, as it came: the headers X-App-Usage and X-Business-Use-Case-Usage. Empty: absent.
type Usage struct{ App, BusinessUseCase string }

// MaxUsage bounds a usage header, in bytes.
const MaxUsage = 4 << 10

// ReadUsage reads the usage headers. One that is longer than MaxUsage, not JSON, or changed by scrub is left out.
func ReadUsage(h http.Header, scrub func(string) string) Usage {
	return Usage{App: usageHeader(h, "X-App-Usage", scrub), BusinessUseCase: usageHeader(h, "X-Business-Use-Case-Usage", scrub)}
}

// usageHeader hands on JSON that repeats neither secret nor token, and nothing else.
func usageHeader(h http.Header, name string, scrub func(string) string) string {
	v := h.Get(name)
	if len(v) > MaxUsage || !json.Valid([]byte(v)) || scrub(v) != v {
		return ""
	}
	return v
}

// RetryAt returns when to ask again after an error of this class; the zero time if the headers say nothing.
func RetryAt(c Class, h http.Header, now time.Time) time.Time {
	at := RetryAfter(h, now)
	if c != ClassAppLimit && c != ClassUserLimit {
		return at
	}
	if regain := RegainAccess(h.Get("X-Business-Use-Case-Usage")); regain > 0 && now.Add(regain).After(at) {
		at = now.Add(regain)
	}
	if at.IsZero() {
		at = now.Add(DefaultPause)
	}
	if latest := now.Add(MaxPause); at.After(latest) {
		at = latest
	}
	return at
}

// RetryAfter reads Retry-After, RFC 9110 section 10.2.3: seconds or a date. No time at all says nothing: a rate limit is no invitation to
// ask again at once.
func RetryAfter(h http.Header, now time.Time) time.Time {
	v := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(v, 10, 64); err == nil && seconds > 0 {
		return now.Add(time.Duration(min(seconds, uint64(MaxPause/time.Second))) * time.Second)
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return minTime(at, now.Add(MaxPause))
	}
	return time.Time{}
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// RegainAccess is the longest estimated_time_to_regain_access, which Meta gives in minutes.
func RegainAccess(header string) time.Duration {
	var cases map[string][]struct {
		Minutes float64 `json:"estimated_time_to_regain_access"`
	}
	if len(header) > MaxUsage || json.Unmarshal([]byte(header), &cases) != nil {
		return 0
	}
	var longest time.Duration
	for _, list := range cases {
		for _, c := range list {
			if c.Minutes > 0 {
				longest = max(longest, time.Duration(min(c.Minutes, MaxPause.Minutes())*float64(time.Minute)))
			}
		}
	}
	return longest
}
