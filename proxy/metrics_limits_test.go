package proxy

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const appUsage, businessUsage = "X-App-Usage", "X-Business-Use-Case-Usage"

func TestTheMinutesUntilAnAppHasAccessCountDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		m.limits.note("shop", http.Header{businessUsage: {`{"1":[{"call_count":100,"estimated_time_to_regain_access":5}]}`}})
		for _, c := range []struct {
			after time.Duration
			want  float64
		}{{0, 5}, {90 * time.Second, 4}, {3 * time.Minute, 1}, {time.Minute, 0}, {time.Hour / 2, 0}} {
			time.Sleep(c.after)
			if got := m.limits.all(time.Now()); len(got) != 1 || got[0].Regain != c.want || got[0].Business["call_count"] != 100 {
				t.Errorf("%s later: got %+v, want one limit with Regain %v and a call_count of 100", c.after, got, c.want)
			}
		}
	})
}

func TestALimitIsForgottenAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		m.limits.note("shop", http.Header{appUsage: {`{"call_count":90,"cpu_time":3}`}})
		m.limits.note("other", http.Header{appUsage: {`{"call_count":10}`}})
		time.Sleep(maxUsageAge - time.Second)
		if got := m.limits.all(time.Now()); len(got) != 2 {
			t.Errorf("within the hour: got %+v, want both apps", got)
		}
		m.limits.note("other", http.Header{appUsage: {`{"call_count":20}`}})
		time.Sleep(time.Second)
		if got := m.limits.all(time.Now()); len(got) != 1 || got[0].App != "other" {
			t.Errorf("after the hour: got %+v, want only the app with a newer report", got)
		}
	})
}

// A response may have only one of the two headers. It then says nothing about the limits in the
// other header.
func TestOneLimitHeaderDoesNotEraseTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		m.limits.note("shop", http.Header{businessUsage: {`{"1":[{"call_count":70,"estimated_time_to_regain_access":9}]}`}})
		time.Sleep(2 * time.Minute)
		m.limits.note("shop", http.Header{appUsage: {`{"call_volume":3}`}})
		got := m.limits.all(time.Now())
		if len(got) != 1 || got[0].App != "shop" || !got[0].At.Equal(time.Now()) || got[0].Regain != 7 ||
			!maps.Equal(got[0].Usage, map[string]float64{"call_volume": 3}) || !maps.Equal(got[0].Business, map[string]float64{"call_count": 70}) {
			t.Errorf("got %+v, want call_volume 3, call_count 70, Regain 7 and the current time", got)
		}
		time.Sleep(maxUsageAge - time.Minute)
		if got = m.limits.all(time.Now()); len(got) != 1 || got[0].Usage == nil || got[0].Business != nil || got[0].Regain != 0 {
			t.Errorf("more than an hour after the first header: got %+v, want only the numbers of the second header", got)
		}
		m.limits.note("shop", http.Header{businessUsage: {`{"1":[{"call_count":1}]}`}})
		if got = m.limits.all(time.Now()); len(got) != 1 || got[0].Usage["call_volume"] != 3 || got[0].Business["call_count"] != 1 {
			t.Errorf("the headers in the other order: got %+v, want call_volume 3 and call_count 1", got)
		}
	})
}

// Only the numbers in Meta's reports are kept, without the IDs and words around them.
func TestRateLimitsHoldOnlyNumbers(t *testing.T) {
	h := http.Header{}
	h.Set("X-App-Usage", `{"call_volume":28,"cpu_time":15.5,"total_time":"secret","canary":1,"call_count":-1}`)
	h.Set("X-Business-Use-Case-Usage", `{"17841400000000001":[{"type":"canary","call_count":3,"total_time":9,"estimated_time_to_regain_access":4.2},{"call_count":70}],"2":[{"call_count":12}]}`)
	limits := &NewMetrics().limits
	limits.note("shop", h)
	l := limits.all(time.Now())[0]
	if !maps.Equal(l.Usage, map[string]float64{"call_volume": 28, "cpu_time": 15.5}) || l.Regain != 5 ||
		!maps.Equal(l.Business, map[string]float64{"call_count": 70, "total_time": 9}) {
		t.Errorf("got %+v, want Regain 5, the two valid numbers of X-App-Usage, and the highest number of each kind from the other header", l)
	}
	text, _ := json.Marshal(l)
	for _, word := range []string{"canary", "secret", "17841400000000001"} {
		if strings.Contains(string(text), word) {
			t.Errorf("the rate limits contain %q: %s", word, text)
		}
	}
	for _, nothing := range []string{"", "soon", "[1]", `{"x":{}}`, `{"call_count":null}`} {
		limits := &NewMetrics().limits
		limits.note("shop", http.Header{"X-App-Usage": {nothing}, "X-Business-Use-Case-Usage": {nothing}})
		if list := limits.all(time.Now()); len(list) != 0 {
			t.Errorf("with %q in both headers: got %+v, want no rate limit", nothing, list)
		}
	}
}

// igproxy records the rate limits that Meta reports in responses to token calls and to
// passed-through calls.
func TestRateLimitsAreRecordedFromEveryCall(t *testing.T) {
	used := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-App-Usage", <-used)
		_, _ = io.WriteString(w, `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5183944}`)
	}))
	t.Cleanup(server.Close)
	o := optionsFor(t, server.URL, nil)
	o.Metrics, o.Passthrough = NewMetrics(), passing(PassthroughOptions{})
	p := newProxy(t, o)
	for path, percent := range map[string]float64{target("IGAAshort"): 10, "/me?access_token=IGAAlong": 90} {
		used <- fmt.Sprintf(`{"call_count":%v}`, percent)
		if w := ask(p, get(path)); w.Code != 200 {
			t.Fatalf("%s: got %d %s, want 200", path, w.Code, w.Body)
		}
		got := p.RateLimits()
		if len(got) != 1 || got[0].Usage["call_count"] != percent || got[0].App != "default" || counted(t, o.Metrics, "igproxy_upstream_usage_ratio") != percent/100 {
			t.Errorf("after %s: got %+v, want call_count %v for the app default; igproxy_upstream_usage_ratio is %v, want %v",
				path, got, percent, counted(t, o.Metrics, "igproxy_upstream_usage_ratio"), percent/100)
		}
	}
}
