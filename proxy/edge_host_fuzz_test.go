package proxy

import (
	"crypto/sha256"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// FuzzHost checks that no Host makes the gate panic, and that the gate serves a Host only if
// net/url finds an allowed name, localhost or a loopback address in it.
func FuzzHost(f *testing.F) {
	for _, seed := range []string{"", "localhost", "LOCALHOST.:8080", "127.0.0.1:1", "[::1]:8080", "[::ffff:127.0.0.1]", "igproxy.internal", "evil.example", "127.0.0.1.evil.example",
		"localhost:80@evil.example", "[::1", "::1", "127.1", "0x7f000001", "[::1%25lo]", "[::1.]", "localhost:", ":", "[", "[]:", "localhost\x00"} {
		f.Add(seed)
	}
	g := newGate([]string{"igproxy.internal"}, false)
	f.Fuzz(func(t *testing.T, host string) {
		r := &http.Request{Method: http.MethodGet, Host: host, RequestURI: wireOK, URL: &url.URL{Path: "/access_token"}, Header: http.Header{}}
		if g.check(r) != nil {
			return
		}
		u, err := url.Parse("http://" + host + "/")
		if err != nil || u.Path != "/" || u.User != nil {
			t.Fatalf("served %q, which is not a host with an optional port (error of net/url: %v)", host, err)
		}
		name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
		if ip := net.ParseIP(name); name != "localhost" && name != "igproxy.internal" && (ip == nil || !ip.IsLoopback()) {
			t.Fatalf("served %q, which names a host that is not allowed", host)
		}
	})
}

// FuzzOwnToken checks that no header makes the type trust panic, and that it accepts exactly the
// requests with igproxy's own token in one of these places:
//   - in a single X-Igproxy-Token header;
//   - without an X-Igproxy-Token header: in a single Authorization header, as the password of
//     Basic;
//   - without an X-Igproxy-Token header, but with Meta's token in the query: in a single
//     Authorization header, as Bearer.
func FuzzOwnToken(f *testing.F) {
	const token = "0123456789abcdef"
	basic := func(text string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(text)) }
	for _, seed := range [][2]string{{"", ""}, {token, ""}, {"", basic("igproxy:" + token)}, {"wrong", basic("igproxy:" + token)}, {token + "\n" + token, ""},
		{"", "Bearer " + token}, {"", "basic " + token}, {"", basic(token)}, {"", basic(token + ":")}, {" " + token, basic(":" + token)}, {"", "Basic ===="}} {
		f.Add(seed[0], seed[1])
	}
	digest := sha256.Sum256([]byte(token))
	required := trusting(digest)
	f.Fuzz(func(t *testing.T, own, authorization string) { // each line of a parameter is the value of one header field
		r := &http.Request{Header: http.Header{}, URL: &url.URL{}}
		if own != "" {
			r.Header[trustHeader] = strings.Split(own, "\n")
		}
		if authorization != "" {
			r.Header["Authorization"] = strings.Split(authorization, "\n")
		}
		want := own == token
		if scheme, coded, _ := strings.Cut(authorization, " "); own == "" && strings.EqualFold(scheme, "basic") {
			plain, err := base64.StdEncoding.DecodeString(coded)
			_, password, colon := strings.Cut(string(plain), ":")
			want = err == nil && colon && password == token && !strings.Contains(authorization, "\n")
		}
		if got := required.check(r, destination{}) == nil; got != want {
			t.Fatalf("X-Igproxy-Token %q, Authorization %q: accepted %v, want %v", own, authorization, got, want)
		}
		r.URL.RawQuery = "access_token=IGAA"
		if scheme, sent, _ := strings.Cut(authorization, " "); own == "" && strings.EqualFold(scheme, "bearer") {
			want = strings.TrimSpace(sent) == token && !strings.Contains(authorization, "\n")
		}
		if got := required.check(r, destination{}) == nil; got != want {
			t.Fatalf("X-Igproxy-Token %q, Authorization %q, with Meta's token in the query: accepted %v, want %v", own, authorization, got, want)
		}
	})
}
