package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func checkSecret(text string) *fault {
	if f := faultOfSecret(text); f != nil {
		return f
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r > '~' }) {
		return &fault{"is not plain ASCII, perhaps a byte order mark", "write it without"}
	}
	if len(text) < minSecret {
		return &fault{fmt.Sprintf("holds fewer than %d characters, so it cannot be an Instagram app's secret", minSecret), "copy the whole secret from Meta's dashboard"}
	}
	return nil
}

const listenForms = "write host:port, [::1]:port or unix:/path"

// maxSocketPath is the shortest limit among the systems Go runs on (sun_path of the BSDs has 104
// bytes, the last one for zero).
const maxSocketPath = 103

func checkListen(text string) *fault {
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		switch {
		case !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/"):
			return &fault{quote(text) + " names no absolute path", "write unix:/path, as in unix:/run/igproxy/igproxy.sock"}
		case len(path) > maxSocketPath:
			return &fault{fmt.Sprintf("the socket's path is longer than %d bytes", maxSocketPath), "choose a shorter one"}
		}
		return nil
	}
	if isPort(text, 0) {
		return &fault{quote(text) + " is a port without a host", "write 127.0.0.1:" + text}
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || host != "" && !isHost(host) {
		return &fault{quote(text) + " is not an address", listenForms}
	}
	if !isPort(port, 0) {
		return &fault{quote(text) + " has no port between 0 and 65535", listenForms}
	}
	return nil
}

func isPort(text string, least int) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n >= least && n <= 65535 && !strings.ContainsAny(text, "+-")
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

func isHost(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil || len(text) <= 254 && hostName.MatchString(text)
}

func checkHost(text string) *fault {
	bare := strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
	if isHost(bare) {
		return nil
	}
	if host, port, err := net.SplitHostPort(text); err == nil && isHost(host) && isPort(port, 0) {
		return &fault{quote(text) + " has a port", "write " + host}
	}
	return &fault{quote(text) + " is not a host name", "write names such as igproxy.internal, without scheme, port or *"}
}

func checkAddr(text string) *fault {
	host, port, err := net.SplitHostPort(text)
	if err != nil || !isHost(host) || !isPort(port, 1) {
		return &fault{quote(text) + " is not an address", "write host:port, without redis:// and without a password"}
	}
	return nil
}

// checkRedirect takes what may be compared byte for byte with what an app sends.
func checkRedirect(text string) *fault {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" && u.Opaque == "" && u.Path == "" || strings.Contains(text, "#") || strings.ContainsAny(text, " \"<>") {
		return &fault{quote(text) + " is not a redirect URI", "write it as it stands in Meta's dashboard, as in https://app.example/callback"}
	}
	return nil
}

// checkUID takes a number of a user; the last one of 32 bits is no user's.
func checkUID(text string) *fault {
	if uid, err := strconv.ParseUint(text, 10, 32); err != nil || uid == 1<<32-1 || strconv.FormatUint(uid, 10) != text {
		return &fault{quote(text) + " is not the number of a user", "write numbers as id -u tells them"}
	}
	return nil
}

func socketMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, errors.New("server.socket_mode is not a mode")
	}
	return fs.FileMode(mode), nil
}

func checkMode(text string) *fault {
	if _, err := socketMode(text); err != nil || len(text) != 4 || text[0] != '0' {
		return &fault{quote(text) + " is not a mode", `write four octal digits in quotes, such as "0660"`}
	}
	return nil
}

var digits = regexp.MustCompile(`^[0-9]{1,32}$`)

// checkAppID does not repeat the value: the dashboard shows id and secret side by side.
func checkAppID(text string) *fault {
	if !digits.MatchString(text) {
		return &fault{"not an app id", "write the number that Meta's dashboard shows as Instagram app ID (and not the secret)"}
	}
	return nil
}

var (
	name   = regexp.MustCompile(`^[!-~]{1,128}$`)
	prefix = regexp.MustCompile(`^[A-Za-z0-9:_.-]{1,64}$`)
)

func checkName(text string) *fault {
	if !name.MatchString(text) {
		return &fault{"not a name", "write up to 128 printable characters without blanks"}
	}
	return nil
}

// checkPrefix keeps braces out: they would move the hash tag that keeps an entry's keys in one slot
// of a cluster.
func checkPrefix(text string) *fault {
	if !prefix.MatchString(text) {
		return &fault{quote(text) + " is not a prefix", "write up to 64 letters, digits and : _ . -"}
	}
	return nil
}

func checkUpstreamURL(text string) *fault {
	const form = "write https://graph.instagram.com"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || !isHost(u.Hostname()) || u.Port() != "" && !isPort(u.Port(), 1) || u.RawPath != "":
		return &fault{quote(text) + " is not an http or https URL", form}
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#"):
		return &fault{"it has a user, a query or a fragment", form + ", without secrets and parameters"}
	case strings.HasSuffix(strings.TrimSuffix(u.Path, "/"), "/access_token"):
		return &fault{quote(text) + " has the path that igproxy adds", form}
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return &fault{quote(text) + " would send the secret and the tokens unencrypted", "write https:// (plain http is for loopback only)"}
	}
	return nil
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}

// checkRedisURL repeats nothing of the value. Nor does it use net/url's error, which does.
func checkRedisURL(text string) *fault {
	wrong := &fault{"not a Redis URL", "write redis://host:port/db, rediss://host:port/db or unix:///path; in a password, write @ : / ? # as %40 %3A %2F %3F %23"}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" || strings.Contains(text, "#") {
		return wrong
	}
	switch u.Scheme {
	case "redis", "rediss":
		database := strings.TrimSuffix(strings.TrimPrefix(u.Path, "/"), "/")
		if !isHost(u.Hostname()) || u.Port() != "" && !isPort(u.Port(), 1) || database != "" && !digits.MatchString(database) {
			return wrong
		}
	case "unix":
		if u.Host != "" || len(u.Path) < 2 {
			return wrong
		}
	default:
		return wrong
	}
	if u.RawQuery != "" && !(u.Scheme == "unix" && database.MatchString(u.RawQuery)) {
		return &fault{"it has parameters, which are not read", "remove them; time-outs, pool and TLS have keys of their own below redis:"}
	}
	return nil
}

// database is the only parameter of a Redis URL, and only of one that has its path taken by a
// socket.
var database = regexp.MustCompile(`^db=[0-9]{1,9}$`)

// hasPassword reports whether a Redis URL holds one, as far as can be told.
func hasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@")
	}
	_, has := u.User.Password()
	return has
}

// sameAddress reports whether two listeners would get in each other's way.
func sameAddress(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if strings.HasPrefix(a, "unix:") || strings.HasPrefix(b, "unix:") || errA != nil || errB != nil {
		return a == b || filepath.Clean(a) == filepath.Clean(b)
	}
	pa, _ := strconv.Atoi(portA)
	pb, _ := strconv.Atoi(portB)
	return pa == pb && pa != 0 && (strings.EqualFold(hostA, hostB) || isEvery(hostA) || isEvery(hostB) ||
		isLoopback(hostA) && isLoopback(hostB) && (hostA == "localhost" || hostB == "localhost"))
}

// isEvery reports whether a listener on host gets the connections to every address of the machine.
func isEvery(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

// beyondLoopback reports whether other machines may reach a listener. A name is taken to be
// reachable.
func beyondLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	return err == nil && !strings.HasPrefix(listen, "unix:") && !isLoopback(host)
}
