package sidecar

import (
	"cmp"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// ConfigurationError is an error in the configuration that config.Load cannot find, because the
// error depends on more than the settings.
type ConfigurationError string

func (e ConfigurationError) Error() string { return string(e) }

// errProxy does not repeat the value, which may contain a password.
const errProxy = ConfigurationError("HTTPS_PROXY or HTTP_PROXY is not the URL of a proxy; correct it (in a user name or a password, write % as %25, " +
	"and @ : / ? # as %40 %3A %2F %3F %23), or set upstream.proxy: none")

// Egress returns how calls reach Meta: "direct", or "through proxy HOST:PORT (HOSTS)", where HOSTS
// are the hosts of Meta that are reached through the proxy. If hosts are reached in several ways,
// it returns each way with its hosts. The result never contains the proxy's credentials. Egress
// returns an error if HTTPS_PROXY is invalid, or if a proxy that igproxy would use is malformed or
// is one of igproxy's own listeners.
func Egress(c config.Config) (string, error) {
	const direct = "direct"
	if c.Upstream.Proxy == config.ProxyNone {
		return direct, nil
	}
	if !isProxyText(cmp.Or(os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))) {
		return "", errProxy
	}
	var ways []string
	hosts := map[string][]string{}
	for _, base := range []string{c.Upstream.URL, c.Upstream.LoginURL, c.Threads.URL, c.Facebook.URL} {
		u, _ := url.Parse(base) // config.Load has checked all URLs
		via, err := http.ProxyFromEnvironment(&http.Request{URL: u})
		if err != nil || via != nil && !isProxy(via) {
			return "", errProxy
		}
		if via != nil {
			if key := ownListener(via, c); key != "" {
				return "", errLoop(key)
			}
		}
		way := direct
		if via != nil {
			way = "through proxy " + via.Host
		}
		if !slices.Contains(ways, way) {
			ways = append(ways, way)
		}
		if !slices.Contains(hosts[way], u.Host) {
			hosts[way] = append(hosts[way], u.Host)
		}
	}
	if slices.Equal(ways, []string{direct}) {
		return direct, nil
	}
	for i, way := range ways {
		ways[i] = way + " (" + strings.Join(hosts[way], ", ") + ")"
	}
	return strings.Join(ways, "; "), nil
}

// errLoop returns the error for a proxy that is igproxy's own listener, through which igproxy would
// send its calls to itself. key is the setting of the listener's address.
func errLoop(key string) error {
	return ConfigurationError("HTTPS_PROXY leads to igproxy's own listener, " + key + "; remove HTTPS_PROXY from igproxy's environment, or set upstream.proxy: none")
}

// ownListener returns the setting of the listener that a proxy leads to, or "" if the proxy leads
// to none of igproxy's own listeners.
func ownListener(proxy *url.URL, c config.Config) string {
	on := func(listen string) bool { return sameListener(proxy, listen) }
	switch {
	case on(c.Intercept.Listen):
		return "intercept.listen"
	case slices.ContainsFunc(c.Listen, on):
		return "listen"
	case on(c.Admin.Listen):
		return "admin.listen"
	}
	return ""
}

// sameListener reports whether a proxy is the listener on an address. It resolves no name except
// localhost. A loop that sameListener misses ends anyway, because igproxy refuses its own calls
// when they come back.
func sameListener(proxy *url.URL, listen string) bool {
	on, port, err := net.SplitHostPort(listen)
	if err != nil || port != cmp.Or(proxy.Port(), map[string]string{"http": "80", "https": "443"}[proxy.Scheme]) {
		return false
	}
	to, at := address(proxy.Hostname()), address(on)
	if !to.IsValid() || !at.IsValid() {
		return strings.EqualFold(proxy.Hostname(), on)
	}
	here := to.IsLoopback() || to.IsUnspecified() // a call to 0.0.0.0 or :: reaches this machine, too
	if at.IsUnspecified() {
		return here || isOwn(to)
	}
	return to == at || here && at.IsLoopback()
}

// address returns the IP address of a host: the unspecified address if the host is empty, and a
// loopback address for localhost. For any other name it returns the zero Addr.
func address(host string) netip.Addr {
	if host == "" {
		return netip.IPv6Unspecified()
	}
	if strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		return netip.IPv6Loopback()
	}
	ip, _ := netip.ParseAddr(host)
	return ip.Unmap().WithZone("")
}

// isOwn reports whether an address belongs to this machine.
func isOwn(ip netip.Addr) bool {
	own, _ := net.InterfaceAddrs() // if this fails, own is empty
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		network, err := netip.ParsePrefix(a.String())
		return err == nil && network.Addr().Unmap() == ip
	})
}

// isProxyText reports whether net/http can parse the value of a proxy variable, which may be empty.
// net/http ignores a value that it cannot parse, and connects without a proxy.
func isProxyText(text string) bool {
	if u, err := url.Parse(text); err == nil && slices.Contains([]string{"", "http", "https", "socks5", "socks5h"}, u.Scheme) {
		return true
	}
	_, err := url.Parse("http://" + text) // the value may have no scheme
	return err == nil
}

// isProxy reports whether u is a URL with a host, perhaps a port and credentials, and nothing more.
// net/http is lenient: in a malformed URL it may take the user name for the host.
func isProxy(u *url.URL) bool {
	return u.Hostname() != "" && !strings.ContainsAny(u.Host, `"<>`) && !strings.HasSuffix(u.Host, ":") &&
		(u.Path == "" || u.Path == "/") && u.RawQuery == "" && u.Fragment == ""
}
