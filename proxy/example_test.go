package proxy_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/mock"
)

// This example starts a stand-in for Instagram and a Proxy in front of it, and exchanges one token
// twice. The second answer comes from memory.
func ExampleNew() {
	instagram := mock.New(mock.Options{Secret: "the-apps-client-secret"})
	upstream, err := mock.Start(instagram, mock.ServerOptions{TLS: true})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer upstream.Close()
	base, _ := url.Parse(upstream.URL)

	remembered, err := cache.New(cache.Options{MaxBytes: 8 << 20})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer remembered.Close(context.Background())

	p, err := proxy.New(proxy.Options{
		Apps:             []proxy.App{{Secret: proxy.NewSecret("the-apps-client-secret")}},
		UpstreamURL:      base,
		LoginURL:         base,
		ThreadsURL:       base,
		FacebookURL:      base,
		UpstreamCAs:      upstream.CA(),
		Timeout:          10 * time.Second,
		MaxResponseBytes: 64 << 10,
		MaxInFlight:      64,
		Retries:          1,
		TTL:              time.Hour,
		RefreshTTL:       5 * time.Minute,
		CodeTTL:          2 * time.Minute,
		Cache:            remembered,
		Breaker:          breaker.Options{Failures: 5, Ratio: 0.5, MinRequests: 20, Interval: time.Minute, Open: 10 * time.Second, Probes: 1},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer p.Close(context.Background())
	igproxy := httptest.NewServer(p)
	defer igproxy.Close()

	for range 2 {
		res, err := http.Get(igproxy.URL + "/access_token?grant_type=ig_exchange_token&access_token=IGAAshort")
		if err != nil {
			fmt.Println(err)
			return
		}
		res.Body.Close()
		// The ttl is not printed, because it depends on the machine's speed.
		status, _, _ := strings.Cut(res.Header.Get("Cache-Status"), "; ttl=")
		fmt.Println(res.Status, "|", status)
	}
	fmt.Println("Instagram was asked", instagram.Calls(), "time")
	// Output:
	// 200 OK | igproxy; fwd=miss; stored
	// 200 OK | igproxy; hit
	// Instagram was asked 1 time
}
