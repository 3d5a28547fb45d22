package proxy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestRetryAtBelievesInstagramWithinBounds(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	date := func(in time.Duration) string { return now.Add(in).Format(http.TimeFormat) }
	minutes := func(list string) string { return `{"17841400000000001":[` + list + `]}` }
	for name, c := range map[string]struct {
		class      class
		after, buc string
		want       time.Duration // 0: nothing is said
	}{
		"a limit, nothing said":     {classAppLimit, "", "", defaultPause},
		"a user's, nothing said":    {classUserLimit, "", "", defaultPause},
		"an outage, nothing said":   {classTransient, "", "", 0},
		"seconds":                   {classAppLimit, "7", "", 7 * time.Second},
		"seconds of an outage":      {classTransient, "7", "", 7 * time.Second},
		"a date":                    {classAppLimit, date(90 * time.Second), "", 90 * time.Second},
		"a date that is past":       {classTransient, date(-time.Minute), "", 0},
		"a limit, a date past":      {classAppLimit, date(-time.Minute), "", defaultPause},
		"a limit, no time at all":   {classAppLimit, "0", "", defaultPause},
		"far too long":              {classAppLimit, "86400", "", maxPause},
		"far too long, an outage":   {classTransient, "86400", "", maxPause},
		"beyond 32 bits":            {classAppLimit, "9999999999", "", maxPause},
		"beyond 63 bits":            {classAppLimit, "18446744073709551615", "", maxPause},
		"beyond every number":       {classAppLimit, strings.Repeat("9", 40), "", defaultPause},
		"a date far away":           {classAppLimit, date(48 * time.Hour), "", maxPause},
		"negative":                  {classAppLimit, "-5", "", defaultPause},
		"words":                     {classAppLimit, "soon", "", defaultPause},
		"minutes":                   {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":5}`), 5 * time.Minute},
		"half minutes":              {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":1.5}`), 90 * time.Second},
		"the longest of them":       {classUserLimit, "", minutes(`{"estimated_time_to_regain_access":5},{"estimated_time_to_regain_access":9},{}`), 9 * time.Minute},
		"the longer of both":        {classAppLimit, "7", minutes(`{"estimated_time_to_regain_access":5}`), 5 * time.Minute},
		"the longer of both, again": {classAppLimit, "600", minutes(`{"estimated_time_to_regain_access":5}`), 10 * time.Minute},
		"minutes of an outage":      {classTransient, "", minutes(`{"estimated_time_to_regain_access":5}`), 0},
		"no minutes left":           {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":0}`), defaultPause},
		"minutes below nothing":     {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":-3}`), defaultPause},
		"far too many minutes":      {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":1e300}`), maxPause},
		"minutes in words":          {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":"5"}`), defaultPause},
		"another shape":             {classAppLimit, "", `[5]`, defaultPause},
		"too long a header":         {classAppLimit, "", minutes(`{"estimated_time_to_regain_access":5}` + strings.Repeat(" ", maxUsage)), defaultPause},
	} {
		h := http.Header{}
		if c.after != "" {
			h.Set("Retry-After", c.after)
		}
		if c.buc != "" {
			h.Set("X-Business-Use-Case-Usage", c.buc)
		}
		got := retryAt(c.class, h, now)
		if c.want == 0 && !got.IsZero() || c.want != 0 && !got.Equal(now.Add(c.want)) {
			t.Errorf("%s: got %v, want now and %s", name, got, c.want)
		}
	}
}

// Whatever the headers say: no panic, and a limit's pause is more than nothing and at most an hour.
func FuzzRetryAfter(f *testing.F) {
	f.Add("7", `{"1":[{"estimated_time_to_regain_access":5}]}`, `{"call_count":100}`)
	f.Add("Tue, 24 Nov 2026 12:00:00 GMT", `{"1":[{"estimated_time_to_regain_access":1e309}]}`, "")
	f.Add("0", `{"1":null}`, testSecret)
	f.Add("-1", `{"1":[{"estimated_time_to_regain_access":-0.0000001}]}`, `"`+testSecret+`"`)
	now := time.Unix(1_800_000_000, 0)
	scrub := appWith(f, testSecret, "IGAAshort-lived_token").scrubber()
	f.Fuzz(func(t *testing.T, after, businessUseCase, app string) {
		h := http.Header{"Retry-After": {after}, "X-Business-Use-Case-Usage": {businessUseCase}, "X-App-Usage": {app}}
		for _, c := range []class{classAppLimit, classUserLimit, classTransient} {
			at := retryAt(c, h, now)
			if at.After(now.Add(maxPause)) || !at.IsZero() && !at.After(now) || at.IsZero() && c != classTransient {
				t.Fatalf("%s: until %v, from %v", c, at, now)
			}
		}
		u := readUsage(h, scrub)
		for _, text := range []string{u.app, u.businessUseCase} {
			if text != "" && (!json.Valid([]byte(text)) || len(text) > maxUsage || readable(text, testSecret)) {
				t.Fatalf("handed on %q", text)
			}
		}
	})
}

// A limit is told as it came, with the usage headers; then the app's pause holds every other token back without asking, and a user's only
// that user's.
func TestLimitsAreToldAndHeld(t *testing.T) {
	i, s := newInstagram(t, overTLS)
	for token, c := range map[string]struct{ status, held, retryAfter int }{
		"limit4-1":   {400, 429, 300},
		"limit613-1": {400, 429, 60},
		"limit429-1": {429, 429, 7},
		"limit17-1":  {403, 200, 60},
		"limit32-1":  {400, 200, 60},
	} {
		i.Reset()
		p := newProxy(t, optionsFor(t, s.URL, s.CA()))
		near := func(w http.Header, most int) bool { // a noisy machine may take seconds between the two looks at the clock
			n, err := time.ParseDuration(w.Get("Retry-After") + "s")
			return err == nil && n > 0 && n <= time.Duration(most)*time.Second
		}
		first := ask(p, get(target(token)))
		if first.Code != c.status || !near(first.Header(), c.retryAfter) {
			t.Errorf("%s: first answer %d, Retry-After %q; want %d, %d", token, first.Code, first.Header().Get("Retry-After"), c.status, c.retryAfter)
		}
		if token == "limit4-1" && (!strings.Contains(first.Header().Get("X-App-Usage"), "100") ||
			!strings.Contains(first.Header().Get("X-Business-Use-Case-Usage"), "estimated_time_to_regain_access")) {
			t.Errorf("usage headers were not handed on: %v", first.Header())
		}
		again := ask(p, get(target(token)))
		if again.Code < 400 || !near(again.Header(), c.retryAfter) || i.CallsFor(token) != 1 {
			t.Errorf("%s again: %d, Retry-After %q after %d calls", token, again.Code, again.Header().Get("Retry-After"), i.CallsFor(token))
		}
		other := ask(p, get(target("IGAAother")))
		if other.Code != c.held {
			t.Errorf("after %s another token got %d, want %d", token, other.Code, c.held)
		}
		if n := i.CallsFor("IGAAother"); (c.held == 200) != (n == 1) {
			t.Errorf("after %s another token was asked for %d times", token, n)
		}
	}
}

// A hit in memory has no usage headers: they are of another time.
func TestUsageIsOfThisExchangeOnly(t *testing.T) {
	base, _ := saying(t, reply(200, goodToken, `X-App-Usage: {"call_volume":3}`, `X-Business-Use-Case-Usage: not JSON`))
	o := optionsFor(t, base, nil)
	o.Cache = newCache(t)
	p := newProxy(t, o)
	h := ask(p, get(target("IGAAshort"))).Header()
	if h.Get("X-App-Usage") != `{"call_volume":3}` || h["X-Business-Use-Case-Usage"] != nil {
		t.Errorf("got %v", h)
	}
	if h := ask(p, get(target("IGAAshort"))).Header(); h["X-App-Usage"] != nil || !strings.Contains(h.Get("Cache-Status"), "hit") {
		t.Errorf("a hit got %v", h)
	}
}
