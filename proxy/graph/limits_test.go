package graph

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRetryAtFollowsMetaWithinBounds(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	date := func(in time.Duration) string { return now.Add(in).Format(http.TimeFormat) }
	minutes := func(list string) string { return `{"17841400000000001":[` + list + `]}` }
	for name, c := range map[string]struct {
		class      Class
		after, buc string
		want       time.Duration // 0: the zero time
	}{
		"a limit, nothing said":     {ClassAppLimit, "", "", DefaultPause},
		"a user's, nothing said":    {ClassUserLimit, "", "", DefaultPause},
		"an outage, nothing said":   {ClassTransient, "", "", 0},
		"seconds":                   {ClassAppLimit, "7", "", 7 * time.Second},
		"seconds of an outage":      {ClassTransient, "7", "", 7 * time.Second},
		"a date":                    {ClassAppLimit, date(90 * time.Second), "", 90 * time.Second},
		"a date that is past":       {ClassTransient, date(-time.Minute), "", 0},
		"a limit, a date past":      {ClassAppLimit, date(-time.Minute), "", DefaultPause},
		"a limit, no time at all":   {ClassAppLimit, "0", "", DefaultPause},
		"far too long":              {ClassAppLimit, "86400", "", MaxPause},
		"far too long, an outage":   {ClassTransient, "86400", "", MaxPause},
		"beyond 32 bits":            {ClassAppLimit, "9999999999", "", MaxPause},
		"beyond 63 bits":            {ClassAppLimit, "18446744073709551615", "", MaxPause},
		"beyond every number":       {ClassAppLimit, strings.Repeat("9", 40), "", DefaultPause},
		"a date far away":           {ClassAppLimit, date(48 * time.Hour), "", MaxPause},
		"negative":                  {ClassAppLimit, "-5", "", DefaultPause},
		"words":                     {ClassAppLimit, "soon", "", DefaultPause},
		"minutes":                   {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":5}`), 5 * time.Minute},
		"half minutes":              {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":1.5}`), 90 * time.Second},
		"the longest of them":       {ClassUserLimit, "", minutes(`{"estimated_time_to_regain_access":5},{"estimated_time_to_regain_access":9},{}`), 9 * time.Minute},
		"the longer of both":        {ClassAppLimit, "7", minutes(`{"estimated_time_to_regain_access":5}`), 5 * time.Minute},
		"the longer of both, again": {ClassAppLimit, "600", minutes(`{"estimated_time_to_regain_access":5}`), 10 * time.Minute},
		"minutes of an outage":      {ClassTransient, "", minutes(`{"estimated_time_to_regain_access":5}`), 0},
		"no minutes left":           {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":0}`), DefaultPause},
		"minutes below nothing":     {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":-3}`), DefaultPause},
		"far too many minutes":      {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":1e300}`), MaxPause},
		"minutes in words":          {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":"5"}`), DefaultPause},
		"another shape":             {ClassAppLimit, "", `[5]`, DefaultPause},
		"too long a header":         {ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":5}` + strings.Repeat(" ", MaxUsage)), DefaultPause},
	} {
		h := http.Header{}
		if c.after != "" {
			h.Set("Retry-After", c.after)
		}
		if c.buc != "" {
			h.Set("X-Business-Use-Case-Usage", c.buc)
		}
		got := RetryAt(c.class, h, now)
		if c.want == 0 && !got.IsZero() || c.want != 0 && !got.Equal(now.Add(c.want)) {
			t.Errorf("%s: got %v, want now and %s", name, got, c.want)
		}
	}
}

// For any headers there is no panic, and a limit's pause is more than zero and at most an hour.
func FuzzRetryAfter(f *testing.F) {
	f.Add("7", `{"1":[{"estimated_time_to_regain_access":5}]}`, `{"call_count":100}`)
	f.Add("Tue, 24 Nov 2026 12:00:00 GMT", `{"1":[{"estimated_time_to_regain_access":1e309}]}`, "")
	f.Add("0", `{"1":null}`, testSecret)
	f.Add("-1", `{"1":[{"estimated_time_to_regain_access":-0.0000001}]}`, `"`+testSecret+`"`)
	now := time.Unix(1_800_000_000, 0)
	scrub := scrubber(testSecret, "IGAAshort-lived_token")
	f.Fuzz(func(t *testing.T, after, businessUseCase, app string) {
		h := http.Header{"Retry-After": {after}, "X-Business-Use-Case-Usage": {businessUseCase}, "X-App-Usage": {app}}
		for _, c := range []Class{ClassAppLimit, ClassUserLimit, ClassTransient} {
			at := RetryAt(c, h, now)
			if at.After(now.Add(MaxPause)) || !at.IsZero() && !at.After(now) || at.IsZero() && c != ClassTransient {
				t.Fatalf("%s: until %v, from %v", c, at, now)
			}
		}
		u := ReadUsage(h, scrub)
		for _, text := range []string{u.App, u.BusinessUseCase} {
			if text != "" && (!json.Valid([]byte(text)) || len(text) > MaxUsage || readable(text, testSecret)) {
				t.Fatalf("handed on %q", text)
			}
		}
	})
}
