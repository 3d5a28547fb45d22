package proxy

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOperationsAreTakenFromThisMachineOnly(t *testing.T) {
	tcp := func(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 9090} }
	for name, c := range map[string]struct {
		local net.Addr
		from  string
		want  int
	}{
		"loopback":                                     {tcp("127.0.0.1"), "127.0.0.1:4711", 200},
		"loopback, of IPv6":                            {tcp("::1"), "[::1]:4711", 200},
		"an address of its own":                        {tcp("10.0.0.5"), "10.0.0.5:4711", 200},
		"a Unix socket":                                {&net.UnixAddr{Name: "/a", Net: "unix"}, "@", 200},
		"loopback, by another of its addresses":        {tcp("127.0.0.1"), "127.0.0.6:4711", 200},
		"a proxy in the same pod, for another machine": {tcp("10.0.0.5"), "127.0.0.6:4711", 403},
		"another machine":                              {tcp("10.0.0.5"), "10.0.0.6:4711", 403},
		"another machine, over IPv6":                   {tcp("fd00::5"), "[fd00::6]:4711", 403},
		"an address that cannot be read":               {tcp("127.0.0.1"), "nonsense", 403},
		"a name in the place of an address":            {tcp("127.0.0.1"), "localhost:1", 403},
		"nothing is known":                             {nil, "127.0.0.1:4711", 403},
	} {
		ran := false
		o := Operation{Name: "reload", Run: func(*http.Request) (int, any) { ran = true; return http.StatusOK, "done" }}
		r := httptest.NewRequest(http.MethodPost, "/reload", nil)
		r.RemoteAddr = c.from
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if c.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		}
		w := httptest.NewRecorder()
		o.ServeHTTP(w, r)
		if w.Code != c.want || ran != (c.want == 200) {
			t.Errorf("%s: got %d, ran %v", name, w.Code, ran)
		}
	}
}

// A reload may bring apps and take them away; their gauges go with them.
func TestGaugesOfAppsFollowAReload(t *testing.T) {
	_, s := newInstagram(t, overTLS)
	o := optionsFor(t, s.URL, s.CA())
	o.Cache, o.Metrics = newCache(t), NewMetrics()
	p := newProxy(t, o)
	o.Apps = []App{{Label: "one", ID: "1", Secret: NewSecret(testSecret)}, {Label: "two", ID: "2", Secret: NewSecret("a-secret-that-is-wrong")}}
	if err := p.Reload(o); err != nil {
		t.Fatal(err)
	}
	if w := askAt(p, "localhost", "/apps/two"+target("IGAAshort")); w.Code != 400 {
		t.Fatalf("got %d", w.Code)
	}
	families, err := o.Metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "igproxy_client_secret_refused" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if len(got) != 2 || got["one"] != 0 || got["two"] != 1 {
		t.Errorf("got %v, want one and two, of which two is refused", got)
	}
}
