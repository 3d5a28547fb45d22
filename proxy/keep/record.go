package keep

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// horizon is the longest life of a record, and the longest remaining life that is recorded for a
// token. Meta's long-lived tokens are valid for 60 days. The cache remembers a purge for 61 days,
// so a record that was purged expires before the purge is forgotten.
const horizon = 60 * 24 * time.Hour

const (
	// longestPause limits how long a Result can postpone the next refresh.
	longestPause = 10 * 24 * time.Hour

	// clockMargin is how much the clocks of a fleet's machines may differ.
	clockMargin = time.Hour
)

// longLived is the shortest life of a token that can be refreshed: Instagram refreshes only tokens
// that are at least 24 hours old. A token that was issued with a shorter life is never refreshed.
// See
// https://developers.facebook.com/docs/instagram-platform/reference/refresh_access_token
const longLived = 24 * time.Hour

// record is what is known about a long-lived token. Its JSON form is sealed under the token itself.
// Times are Unix milliseconds; a zero end is unknown. The successor is behind a pointer, so that
// printing a value that contains a record prints an address, and not the successor.
type record struct {
	End          int64   `json:"end,omitempty"`           // of the token
	Successor    *string `json:"successor,omitempty"`     // nil: the token has no successor, and is itself sent to Meta
	SuccessorEnd int64   `json:"successor_end,omitempty"` // of the successor
	Tried        int64   `json:"tried,omitempty"`         // when the last refresh began
	Outcome      Outcome `json:"outcome,omitempty"`       // of the last refresh
	Next         int64   `json:"next,omitempty"`          // no refresh begins earlier
}

// Format hides the contents of the record.
func (r record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[record]") }

// decodeRecord returns the record in an entry. It reports false if the entry was not found or has
// no valid record.
//
// decodeRecord replaces a time that is so far ahead that only a wrong clock can have recorded it.
// An end is moved close to now, so that the token is refreshed when it is next used. Next becomes
// zero.
func decodeRecord(e cache.Entry, found bool, now time.Time) (r record, ok bool) {
	if !found || json.Unmarshal(e.Value, &r) != nil {
		return record{}, false
	}
	farthest := now.Add(horizon + clockMargin).UnixMilli()
	for _, end := range []*int64{&r.End, &r.SuccessorEnd} {
		if *end > farthest {
			*end = now.Add(clockMargin).UnixMilli()
		}
	}
	if r.Next > now.Add(longestPause+clockMargin).UnixMilli() {
		r.Next = 0
	}
	return r, true
}

// entry returns the record as an entry. The entry expires when the token and its successor have
// ended. If the end of the current token is unknown or has passed, the entry expires at Next,
// because then only Next is of use.
func (r record) entry(now time.Time) cache.Entry {
	end := time.UnixMilli(r.Next)
	if r.end() > now.UnixMilli() {
		end = time.UnixMilli(max(r.End, r.SuccessorEnd))
	}
	text, _ := json.Marshal(r) // cannot fail: the fields are numbers and strings
	return cache.Entry{Value: text, Expires: earlier(end, now.Add(horizon))}
}

// successor returns the successor, or "" if there is no successor.
func (r record) successor() string {
	if r.Successor != nil {
		return *r.Successor
	}
	return ""
}

// current returns the token to send to Meta when an app has sent token: the successor, or token
// itself if it has no successor.
func (r record) current(token string) string { return cmp.Or(r.successor(), token) }

// end returns the end of the token that current returns.
func (r record) end() int64 {
	if r.Successor != nil {
		return r.SuccessorEnd
	}
	return r.End
}

// isEnding reports whether the current token has not ended yet, but ends within the given duration.
func (r record) isEnding(now time.Time, within time.Duration) bool {
	end := r.end()
	return end > now.UnixMilli() && end <= now.Add(within).UnixMilli()
}

// isDue reports whether to refresh the current token, which Meta has just accepted. Before Next,
// the token is not due. From Next on, it is due if it ends within the given duration, if its end is
// unknown, or if its end has passed by this machine's clock.
func (r record) isDue(now time.Time, within time.Duration) bool {
	return now.UnixMilli() >= r.Next && (r.isEnding(now, within) || r.end() <= now.UnixMilli())
}

// issued returns the record of a token that Meta has issued with this end. If the end is less than
// longLived ahead, issued sets Next to the end, so that the token is not refreshed; see isShort.
func (r record) issued(now, end time.Time) record {
	r.End, r.Successor, r.SuccessorEnd = capped(now, end), nil, 0
	if end.Sub(now) < longLived {
		r.Next = r.End
	}
	return r
}

// refreshed returns the record after Meta has refreshed its current token. It ignores two kinds of
// answers: a successor that ends more than 24 hours before the current token, and the current token
// itself without a later end.
func (r record) refreshed(token string, now time.Time, successor string, end time.Time) record {
	until := capped(now, end)
	r.Outcome = Refreshed
	switch {
	case successor == r.current(token) && r.end() >= until, r.end()-longLived.Milliseconds() > until:
		r.Outcome = Unchanged
	case successor == token:
		r.End, r.Successor, r.SuccessorEnd = until, nil, 0
	default:
		r.Successor, r.SuccessorEnd = &successor, until
	}
	return r
}

// finished returns the record after a refresh of its current token has ended with this result.
func (r record) finished(token string, now time.Time, s Settings, result Result) record {
	r.Next = now.Add(s.CheckEvery).UnixMilli()
	switch {
	case result.Token != "":
		return r.refreshed(token, now, result.Token, result.Expires)
	case result.Refused && r.end() > now.UnixMilli():
		r.Outcome = Refused
	case result.Refused:
		r.Outcome = Postponed
	default:
		r.Outcome = Failed
		r.Next = max(s.retryAt(now), earlier(result.RetryAt, now.Add(longestPause)).UnixMilli())
	}
	return r
}

// dropped returns the record without its successor, which Meta has refused.
func (r record) dropped() record {
	r.Successor, r.SuccessorEnd, r.Outcome = nil, 0, Refused
	return r
}

// isShort reports whether the method issued has recorded the token as too short-lived to be
// refreshed.
func (r record) isShort() bool { return r.End > 0 && r.Next == r.End }

// capped returns the end to record: in Unix milliseconds, and at most horizon ahead.
func capped(now, end time.Time) int64 { return earlier(end, now.Add(horizon)).UnixMilli() }

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
