package graph_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

func TestRetryAtFollowsMetaWithinBounds(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	date := func(in time.Duration) string { return now.Add(in).Format(http.TimeFormat) }
	minutes := func(list string) string { return `{"17841400000000001":[` + list + `]}` }
	for name, c := range map[string]struct {
		class graph.Class
		after string        // Retry-After; "": no such header
		cases string        // X-Business-Use-Case-Usage; "": no such header
		want  time.Duration // from now until the retry time; 0: RetryAt returns the zero time
	}{
		"a limit, no time":          {graph.ClassAppLimit, "", "", graph.DefaultPause},
		"a user limit, no time":     {graph.ClassUserLimit, "", "", graph.DefaultPause},
		"an outage, no time":        {graph.ClassTransient, "", "", 0},
		"seconds":                   {graph.ClassAppLimit, "7", "", 7 * time.Second},
		"seconds of an outage":      {graph.ClassTransient, "7", "", 7 * time.Second},
		"a date":                    {graph.ClassAppLimit, date(90 * time.Second), "", 90 * time.Second},
		"a date in the past":        {graph.ClassTransient, date(-time.Minute), "", 0},
		"a limit, a past date":      {graph.ClassAppLimit, date(-time.Minute), "", graph.DefaultPause},
		"a limit, zero seconds":     {graph.ClassAppLimit, "0", "", graph.DefaultPause},
		"far too long":              {graph.ClassAppLimit, "86400", "", graph.MaxPause},
		"far too long, an outage":   {graph.ClassTransient, "86400", "", graph.MaxPause},
		"beyond 32 bits":            {graph.ClassAppLimit, "9999999999", "", graph.MaxPause},
		"beyond 63 bits":            {graph.ClassAppLimit, "18446744073709551615", "", graph.MaxPause},
		"beyond 64 bits":            {graph.ClassAppLimit, strings.Repeat("9", 40), "", graph.DefaultPause},
		"a date far away":           {graph.ClassAppLimit, date(48 * time.Hour), "", graph.MaxPause},
		"negative":                  {graph.ClassAppLimit, "-5", "", graph.DefaultPause},
		"words":                     {graph.ClassAppLimit, "soon", "", graph.DefaultPause},
		"minutes":                   {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":5}`), 5 * time.Minute},
		"one and a half minutes":    {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":1.5}`), 90 * time.Second},
		"the longest of several":    {graph.ClassUserLimit, "", minutes(`{"estimated_time_to_regain_access":5},{"estimated_time_to_regain_access":9},{}`), 9 * time.Minute},
		"minutes are longer":        {graph.ClassAppLimit, "7", minutes(`{"estimated_time_to_regain_access":5}`), 5 * time.Minute},
		"Retry-After is longer":     {graph.ClassAppLimit, "600", minutes(`{"estimated_time_to_regain_access":5}`), 10 * time.Minute},
		"minutes of an outage":      {graph.ClassTransient, "", minutes(`{"estimated_time_to_regain_access":5}`), 0},
		"no minutes left":           {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":0}`), graph.DefaultPause},
		"negative minutes":          {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":-3}`), graph.DefaultPause},
		"far too many minutes":      {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":1e300}`), graph.MaxPause},
		"minutes in words":          {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":"5"}`), graph.DefaultPause},
		"another shape":             {graph.ClassAppLimit, "", `[5]`, graph.DefaultPause},
		"a header that is too long": {graph.ClassAppLimit, "", minutes(`{"estimated_time_to_regain_access":5}` + strings.Repeat(" ", graph.MaxUsage)), graph.DefaultPause},
	} {
		h := http.Header{}
		if c.after != "" {
			h.Set("Retry-After", c.after)
		}
		if c.cases != "" {
			h.Set("X-Business-Use-Case-Usage", c.cases)
		}
		got := graph.RetryAt(c.class, h, now)
		if c.want == 0 && !got.IsZero() || c.want != 0 && !got.Equal(now.Add(c.want)) {
			t.Errorf("%s: got %v, want %s after %v (0s: the zero time)", name, got, c.want, now)
		}
	}
}

// FuzzRetryAfter checks that no header causes a panic, that the pause after a rate limit is more
// than zero and at most an hour, and that no secret is passed on.
func FuzzRetryAfter(f *testing.F) {
	f.Add("7", `{"1":[{"estimated_time_to_regain_access":5}]}`, `{"call_count":100}`)
	f.Add("Tue, 24 Nov 2026 12:00:00 GMT", `{"1":[{"estimated_time_to_regain_access":1e309}]}`, "")
	f.Add("0", `{"1":null}`, testSecret)
	f.Add("-1", `{"1":[{"estimated_time_to_regain_access":-0.0000001}]}`, `"`+testSecret+`"`)
	now := time.Unix(1_800_000_000, 0)
	scrub := scrubber(testSecret, "IGAAshort-lived_token")
	f.Fuzz(func(t *testing.T, after, businessUseCase, app string) {
		h := http.Header{"Retry-After": {after}, "X-Business-Use-Case-Usage": {businessUseCase}, "X-App-Usage": {app}}
		for _, c := range []graph.Class{graph.ClassAppLimit, graph.ClassUserLimit, graph.ClassTransient} {
			at := graph.RetryAt(c, h, now)
			if at.After(now.Add(graph.MaxPause)) || !at.IsZero() && !at.After(now) || at.IsZero() && c != graph.ClassTransient {
				t.Fatalf("class %s: got the retry time %v, want a time after %v, at most %s later", c, at, now, graph.MaxPause)
			}
		}
		for _, values := range graph.ReadUsage(h, scrub) {
			if text := values[0]; !json.Valid([]byte(text)) || len(text) > graph.MaxUsage || readable(text, testSecret) {
				t.Fatalf("ReadUsage returned the header %q, want only JSON of at most %d bytes without the secret", text, graph.MaxUsage)
			}
		}
	})
}
