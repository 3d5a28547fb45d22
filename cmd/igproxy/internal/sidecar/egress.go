package sidecar

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// Egress says how calls leave for Meta: "direct", or "through proxy HOST:PORT", which never has the
// proxy's credentials. If the ways differ, each is followed by its hosts. The error is that of an
// invalid HTTPS_PROXY or HTTP_PROXY, which it does not repeat.
func Egress(c config.Config) (string, error) {
	const direct = "direct"
	if c.Upstream.Proxy == config.ProxyNone {
		return direct, nil
	}
	var ways []string
	hosts := map[string][]string{}
	for _, base := range []string{c.Upstream.URL, c.Upstream.LoginURL, c.Threads.URL} {
		u, _ := url.Parse(base) // config.Load has checked all three
		via, err := http.ProxyFromEnvironment(&http.Request{URL: u})
		if err != nil || via != nil && !isProxy(via) {
			return "", errors.New("HTTPS_PROXY or HTTP_PROXY is not the URL of a proxy; correct it, or set upstream.proxy: none")
		}
		way := direct
		if via != nil {
			way = "through proxy " + via.Host
		}
		if !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
		hosts[way] = append(hosts[way], u.Host)
	}
	if len(ways) == 1 {
		return ways[0], nil
	}
	for i, way := range ways {
		ways[i] = way + " (" + strings.Join(hosts[way], ", ") + ")"
	}
	return strings.Join(ways, "; "), nil
}

// isProxy reports whether u is only a host, a port and credentials. net/http makes the most of what
// is written: of a malformed URL it may take the user for the host.
func isProxy(u *url.URL) bool {
	return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":") &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}
