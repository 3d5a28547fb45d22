package proxy

import (
	"maps"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

const appUsage, businessUsage = "X-App-Usage", "X-Business-Use-Case-Usage"

func TestARateLimitThatWasUsedUpEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		m.limits("shop", http.Header{businessUsage: {`{"1":[{"call_count":100,"estimated_time_to_regain_access":5}]}`}})
		for _, c := range []struct {
			after time.Duration
			want  float64
		}{{0, 5}, {90 * time.Second, 4}, {3 * time.Minute, 1}, {time.Minute, 0}, {time.Hour / 2, 0}} {
			time.Sleep(c.after)
			if got := m.history.all(time.Now()); len(got) != 1 || got[0].Regain != c.want || got[0].Business["call_count"] != 100 {
				t.Errorf("after %s more: %+v, want %v min", c.after, got, c.want)
			}
		}
	})
}

func TestWhatWasSaidOfALimitIsForgottenAfterAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		series := func() (n int) {
			families, err := m.registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "igproxy_upstream_usage_ratio" {
					n = len(f.GetMetric())
				}
			}
			return n
		}
		m.limits("shop", http.Header{appUsage: {`{"call_count":90,"cpu_time":3}`}})
		m.limits("other", http.Header{appUsage: {`{"call_count":10}`}})
		time.Sleep(maxUsageAge - time.Second)
		if got := m.history.all(time.Now()); len(got) != 2 || series() != 3 {
			t.Errorf("within the hour: %+v, %d series", got, series())
		}
		m.limits("other", http.Header{appUsage: {`{"call_count":20}`}})
		time.Sleep(time.Second)
		if got := m.history.all(time.Now()); len(got) != 1 || got[0].App != "other" || series() != 1 {
			t.Errorf("after it: %+v, %d series", got, series())
		}
	})
}

// Answers have the one header or the other; what one says of its limit is no word on the other's.
func TestOneHeaderOfLimitsDoesNotTakeTheOthersAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMetrics()
		m.limits("shop", http.Header{businessUsage: {`{"1":[{"call_count":70,"estimated_time_to_regain_access":9}]}`}})
		time.Sleep(2 * time.Minute)
		m.limits("shop", http.Header{appUsage: {`{"call_volume":3}`}})
		got := m.history.all(time.Now())
		if len(got) != 1 || got[0].App != "shop" || !got[0].At.Equal(time.Now()) || got[0].Regain != 7 ||
			!maps.Equal(got[0].Usage, map[string]float64{"call_volume": 3}) || !maps.Equal(got[0].Business, map[string]float64{"call_count": 70}) {
			t.Errorf("got %+v", got)
		}
		time.Sleep(maxUsageAge - time.Minute)
		if got = m.history.all(time.Now()); len(got) != 1 || got[0].Usage == nil || got[0].Business != nil || got[0].Regain != 0 {
			t.Errorf("later: %+v", got)
		}
		m.limits("shop", http.Header{businessUsage: {`{"1":[{"call_count":1}]}`}})
		if got = m.history.all(time.Now()); len(got) != 1 || got[0].Usage["call_volume"] != 3 || got[0].Business["call_count"] != 1 {
			t.Errorf("the other first: %+v", got)
		}
	})
}
