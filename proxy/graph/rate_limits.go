package graph

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// A rate limit leads to a pause and does not count as a failure of Meta. See
// https://developers.facebook.com/docs/graph-api/overview/rate-limiting.
const (
	DefaultPause = time.Minute // the pause if Meta does not say how long to wait
	MaxPause     = time.Hour   // the longest pause, whatever Meta says
)

// MaxUsage bounds a usage header, in bytes.
const MaxUsage = 4 << 10

// ReadUsage returns the headers that report an app's rate limits, byte for byte. It omits a header
// that is longer than MaxUsage, is not JSON, or contains a secret (scrub would change it).
func ReadUsage(h http.Header, scrub func(string) string) http.Header {
	usage := http.Header{}
	for _, name := range []string{"X-App-Usage", "X-Business-Use-Case-Usage"} {
		if v := h.Get(name); len(v) <= MaxUsage && json.Valid([]byte(v)) && scrub(v) == v {
			usage[name] = []string{v}
		}
	}
	return usage
}

// RetryAt returns the time at which to ask again after an error of class c, at most MaxPause from
// now. For a rate limit, it is the later of the times in Retry-After and X-Business-Use-Case-Usage,
// or DefaultPause from now if neither header has a time. For any other error, only Retry-After
// counts; without a time in it, RetryAt returns the zero time.
func RetryAt(c Class, h http.Header, now time.Time) time.Time {
	at := RetryAfter(h, now)
	if c != ClassAppLimit && c != ClassUserLimit {
		return at
	}
	if regain := now.Add(RegainAccess(h.Get("X-Business-Use-Case-Usage"))); regain.After(now) && regain.After(at) {
		return regain
	}
	if at.IsZero() {
		return now.Add(DefaultPause)
	}
	return at
}

// RetryAfter returns the time that Retry-After gives in seconds or as a date (RFC 9110 section
// 10.2.3), at most MaxPause from now. It returns the zero time if the header is missing or invalid,
// or if its time is not in the future.
func RetryAfter(h http.Header, now time.Time) time.Time {
	v := h.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.ParseUint(v, 10, 64); err == nil {
		wait = time.Duration(min(seconds, uint64(MaxPause/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = min(at.Sub(now), MaxPause)
	}
	if wait <= 0 {
		return time.Time{}
	}
	return now.Add(wait)
}

// RegainAccess returns the longest estimated_time_to_regain_access in the text of
// X-Business-Use-Case-Usage, at most MaxPause. It returns 0 if the header is invalid or has no such
// value.
func RegainAccess(header string) time.Duration {
	var cases map[string][]struct {
		Minutes float64 `json:"estimated_time_to_regain_access"`
	}
	if len(header) > MaxUsage || json.Unmarshal([]byte(header), &cases) != nil {
		return 0
	}
	var longest float64
	for _, list := range cases {
		for _, c := range list {
			longest = max(longest, min(c.Minutes, MaxPause.Minutes()))
		}
	}
	return time.Duration(longest * float64(time.Minute))
}
