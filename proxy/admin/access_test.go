package admin_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/igproxy/igproxy/proxy/admin"
)

func TestOperationsAreTakenFromThisMachineOnly(t *testing.T) {
	ran := false
	h := newHandler(t, admin.Options{Proxy: newProxy(t, optionsFor(t, nowhere)),
		ReloadConfig: func() (bool, any) { ran = true; return true, "done" }})
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
		"a name instead of an address":                 {tcp("127.0.0.1"), "localhost:1", 403},
		"an unknown listener":                          {nil, "127.0.0.1:4711", 403},
	} {
		ran = false
		r := httptest.NewRequest(http.MethodPost, "/reload", nil)
		r.RemoteAddr = c.from
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		if c.local != nil {
			r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, c.local))
		}
		if w := send(h, r); w.Code != c.want || ran != (c.want == 200) {
			t.Errorf("%s: got %d, ran %v", name, w.Code, ran)
		}
	}
}
