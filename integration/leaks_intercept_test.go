package integration

// This part of TestNoLeaks covers interception: the key of the authority, and secrets in requests
// to the proxy.

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// startAuthority makes the authority, prepares the settings of interception, and adds a part of the
// authority's key to the hidden texts.
func (l *leaks) startAuthority() {
	dir := filepath.Join(l.t.TempDir(), "ca")
	for _, name := range []string{"init", "show"} {
		code, stdout, stderr := command(l.t, nil, "ca", name, "--dir", dir)
		if code != 0 {
			l.t.Fatalf("ca %s: exit code %d, want 0: %s", name, code, stderr)
		}
		l.record("other commands", stdout, stderr)
	}
	cert, key := filepath.Join(dir, "igproxy-ca.pem"), filepath.Join(dir, "igproxy-ca.key")
	l.interception = []string{"INTERCEPT_LISTEN=127.0.0.1:0", "INTERCEPT_CA_FILE=" + cert, "INTERCEPT_CA_KEY_FILE=" + key}
	text, err := os.ReadFile(key)
	must(l.t, err)
	l.authority, err = os.ReadFile(cert)
	must(l.t, err)
	// The second line of the base64 text contains most of the private key.
	l.hidden = append(l.hidden, hidden{"the authority's key", strings.Split(string(text), "\n")[2], 0})
}

// intercepted makes an exchange that igproxy intercepts. Then it puts igproxy's own token, the
// client secret and a user's token into many places of requests to the proxy. Most of these
// requests are CONNECTs.
func (l *leaks) intercepted(p *process) {
	address := p.Log.Lines("listening")[0]["intercept"].(string)
	proxy, err := url.Parse(address)
	must(l.t, err)
	proxy.User = url.UserPassword("igproxy", l.bearer)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(l.authority)
	client := &http.Client{Transport: &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	short := l.short("IGAA")
	r, err := fetch(l.t.Context(), client, "https://graph.instagram.com"+exchangePath(short))
	if err != nil || r.status != 200 {
		l.t.Errorf("an intercepted exchange: got %d %s, %v; want 200", r.status, r.body, err)
	}
	l.answered(short, r)

	basic := func(userinfo string) string {
		return "\r\nProxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo))
	}
	const connect = "CONNECT graph.instagram.com:443 HTTP/1.1\r\nHost: graph.instagram.com:443"
	for _, secret := range []string{l.bearer, l.secret, short} {
		name := strings.Map(letter, secret)
		for _, wire := range []string{
			"CONNECT " + name + ":443 HTTP/1.1\r\nHost: x" + basic("igproxy:"+l.bearer),
			"CONNECT " + name + ".example:443 HTTP/1.1\r\nHost: x" + basic("igproxy:"+l.bearer),
			"CONNECT igproxy:" + name + "@graph.instagram.com:443 HTTP/1.1\r\nHost: x",
			"CONNECT " + secret + " HTTP/1.1\r\nHost: x",
			connect + basic("igproxy:"+secret+"x"),
			connect + basic(secret+":x"),
			connect + "\r\nProxy-Authorization: Bearer " + secret,
			connect + "\r\nProxy-Authorization: Basic " + secret,
			connect + basic("igproxy:"+l.bearer) + "\r\n\r\nGET /access_token?access_token=" + secret + " HTTP/1.1\r\nHost: graph.instagram.com",
			"GET http://graph.instagram.com/access_token?access_token=" + url.QueryEscape(secret) + " HTTP/1.1\r\nHost: graph.instagram.com",
			"GET http://" + name + ".example/ HTTP/1.1\r\nHost: " + name + ".example",
		} {
			l.send(proxy.Host, wire+"\r\n\r\n", "", "")
		}
	}
}
