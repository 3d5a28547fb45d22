package proxy

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// newTransport is one pool of connections to Instagram. HTTPS_PROXY and its siblings are honoured, as operators expect of a sidecar;
// TLS goes through such a proxy end to end.
func newTransport(o Options) *http.Transport {
	dialer := &net.Dialer{Timeout: min(o.Timeout, 5*time.Second), KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.UpstreamCAs},
		TLSHandshakeTimeout:    min(o.Timeout, 5*time.Second),
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           o.MaxInFlight,
		MaxIdleConnsPerHost:    o.MaxInFlight,
		MaxConnsPerHost:        o.MaxInFlight,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func userAgent(version string) string {
	if version == "" {
		version = "dev"
	}
	return "igproxy/" + version
}
