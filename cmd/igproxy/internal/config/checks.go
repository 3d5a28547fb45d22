package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Checks of texts that have a fixed form. Their faults do not repeat the value, which may be a
// secret: Meta's dashboard shows an app's ID next to its secret, so it is easy to copy the wrong
// one.
var (
	checkAppID = matches(`[0-9]{1,32}`, "not an app ID",
		"write the number that Meta's dashboard shows as Instagram app ID, Threads app ID or, for Facebook Login, App ID (not the secret)")
	appName = matches(`[a-z][a-z0-9_-]{0,31}`, "not a name",
		"write up to 32 lower-case letters, digits, _ and -, beginning with a letter")
	checkName = matches(`[!-~]{1,128}`, "not a name", "write up to 128 printable ASCII characters without spaces")
	checkMode = matches(`0[0-7]{3}`, "not a mode", `write four octal digits in quotes, such as "0660"`)
	checkUID  = matches(`0|[1-9][0-9]{0,9}`, "not a UID", "write a number, as id -u prints it")
	// Braces are not allowed in a prefix. They would replace the hash tag that keeps the keys of
	// one entry in the same slot of a cluster.
	checkPrefix = matches(`[A-Za-z0-9:_.-]{1,64}`, "not a prefix", "write up to 64 letters, digits and : _ . -")
)

func matches(pattern, what, fix string) func(string) *fault {
	whole := regexp.MustCompile("^(" + pattern + ")$")
	return func(text string) *fault {
		if whole.MatchString(text) {
			return nil
		}
		return &fault{what, fix}
	}
}

func checkAppName(text string) *fault {
	if text == "none" { // in metrics, the label of requests without a known app
		return &fault{`the name "none" is reserved`, "choose another name"}
	}
	return appName(text)
}

// minSecret is the minimum length of a client secret, in characters. Instagram's secrets have 32.
const minSecret = 8

func checkSecret(text string) *fault {
	return faultOfToken(text, minSecret, "copy the whole secret from Meta's dashboard")
}

func checkListen(text string) *fault {
	path, isSocket := strings.CutPrefix(text, "unix:")
	host, port, err := net.SplitHostPort(text)
	if isSocket && strings.HasPrefix(path, "/") && !strings.HasSuffix(path, "/") ||
		!isSocket && err == nil && (host == "" || isHost(host)) && isPort(port, 0) {
		if len(path) > maxSocket && isSocket {
			return &fault{"the path of the socket has more than " + strconv.Itoa(maxSocket) + " bytes", "write a shorter path"}
		}
		return nil
	}
	return &fault{quote(text) + " is not an address", "write host:port, [::1]:port or unix:/path"}
}

// maxSocket bounds the path of a Unix socket, in bytes: macOS allows 103, Linux 107.
const maxSocket = 103

func checkSocket(text string) *fault {
	if strings.HasPrefix(text, "/") && !strings.HasSuffix(text, "/") && len(text) <= maxSocket {
		return nil
	}
	return &fault{quote(text) + " is not the path of a socket",
		"write an absolute path of at most " + strconv.Itoa(maxSocket) + " bytes, without unix:"}
}

func isPort(text string, lowest int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= lowest && n <= 65535 && !strings.ContainsAny(text, "+-")
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

func isHost(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || len(text) <= 254 && hostName.MatchString(text)
}

func checkHost(text string) *fault {
	if !isHost(strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")) {
		return &fault{quote(text) + " is not a host name", "write names such as igproxy.internal, without scheme, port or *"}
	}
	return nil
}

// checkClientName accepts a DNS name without a wildcard, or a URI such as a SPIFFE ID.
func checkClientName(text string) *fault {
	u, err := url.Parse(text)
	if hostName.MatchString(text) || err == nil && u.Scheme != "" && u.Host != "" && u.String() == text {
		return nil
	}
	return &fault{quote(text) + " cannot be the name of a client", "write a DNS name without a wildcard, or a URI, such as spiffe://example.org/shop"}
}

func checkAddr(text string) *fault {
	host, port, err := net.SplitHostPort(text)
	if err != nil || !isHost(host) || !isPort(port, 1) {
		return &fault{quote(text) + " is not an address", "write host:port, without redis:// and without a password"}
	}
	return nil
}

// checkRedirect accepts every URI that an app can send as redirect_uri. It does not normalize the
// URI, because igproxy compares redirect URIs byte for byte.
func checkRedirect(text string) *fault {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host+u.Opaque+u.Path == "" || strings.ContainsAny(text, "# \"<>") {
		return &fault{quote(text) + " is not a redirect URI", "write it as in Meta's dashboard, such as https://app.example/callback"}
	}
	return nil
}

// RedirectNone is the item of redirect_uris that allows the exchange of a code without a
// redirect_uri.
const RedirectNone = "none"

// checkRedirectOrNone accepts RedirectNone, and what checkRedirect accepts.
func checkRedirectOrNone(text string) *fault {
	if text == RedirectNone {
		return nil
	}
	return checkRedirect(text)
}

func checkUpstreamURL(text string) *fault {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https",
		!isHost(u.Hostname()) || u.Port() != "" && !isPort(u.Port(), 1),
		u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"),
		u.RawPath != "" || strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/access_token"):
		return &fault{quote(text) + " is not a base URL", "write a base URL such as https://graph.instagram.com, without parameters and without the path of a call"}
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return &fault{quote(text) + " would send secrets unencrypted", "write https:// (plain http is allowed only on loopback)"}
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// A Redis URL names the database in its path or, if the path is that of a Unix socket, in the
// parameter db.
var (
	databasePath  = regexp.MustCompile(`^/?([0-9]{1,9}/?)?$`)
	databaseQuery = regexp.MustCompile(`^(db=[0-9]{1,9})?$`)
)

// checkRedisURL accepts the URL of a Redis server. Its fault contains neither the value, which may
// have a password, nor an error of net/url, which would repeat the value.
func checkRedisURL(text string) *fault {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || strings.Contains(text, "#"):
	case u.Scheme == "unix" && u.Host == "" && len(u.Path) > 1 && databaseQuery.MatchString(u.RawQuery):
		return nil
	case (u.Scheme == "redis" || u.Scheme == "rediss") && isHost(u.Hostname()) && (u.Port() == "" || isPort(u.Port(), 1)) &&
		databasePath.MatchString(u.Path) && u.RawQuery == "":
		return nil
	}
	return &fault{"not a Redis URL", "write redis://host:port/db, rediss://host:port/db or unix:///path?db=N, without other parameters; " +
		"in a password, write @ : / ? # as %40 %3A %2F %3F %23"}
}

func isUnix(listen string) bool { return strings.HasPrefix(listen, "unix:") }
func isTCP(listen string) bool  { return !isUnix(listen) }

// beyondLoopback reports whether other machines may be able to reach a listener. It assumes that
// they can if the host is a name other than localhost.
func beyondLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && isTCP(listen) && !isLoopback(host)
}
