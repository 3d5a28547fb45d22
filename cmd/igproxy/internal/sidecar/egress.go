package sidecar

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// Egress returns how calls reach Meta: "direct", or "through proxy HOST:PORT", which never has the
// proxy's credentials. If the ways differ, each is followed by its hosts. It returns an error if
// HTTPS_PROXY or HTTP_PROXY is invalid; the error does not repeat the value.
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

// isProxy reports whether u is only a host, a port and credentials. net/http is lenient: in a
// malformed URL it may take the user name for the host.
func isProxy(u *url.URL) bool {
	return u.Hostname() != "" && !strings.HasSuffix(u.Host, ":") &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}
