package integration

// Raw bytes over TCP, as an attacker or a broken client sends them: a 4xx, in the Graph envelope where HTTP itself is whole, Instagram is
// not asked, and the server answers an ordinary request afterwards.

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/proxytest"
)

func TestHostileRequests(t *testing.T) {
	ig, upstream := instagram(t, proxytest.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL)
	host := strings.TrimPrefix(p.url, "http://")
	const ok = "/access_token?grant_type=ig_exchange_token&access_token=IGAA-hostile"
	for name, c := range map[string]struct {
		raw      string
		status   int
		envelope bool
	}{
		"absolute form":       {"GET http://graph.instagram.com" + ok + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"connect":             {"CONNECT graph.instagram.com:443 HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"asterisk":            {"OPTIONS * HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 0, false},
		"foreign host":        {"GET " + ok + " HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, true},
		"two hosts":           {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nHost: evil.example\r\n\r\n", 400, false},
		"no host":             {"GET " + ok + " HTTP/1.1\r\n\r\n", 400, false},
		"origin":              {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nOrigin: https://evil.example\r\n\r\n", 403, true},
		"cross-site fetch":    {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nSec-Fetch-Site: cross-site\r\n\r\n", 403, true},
		"body on get":         {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n\r\nhello", 400, true},
		"announced body only": {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 5\r\n\r\n", 400, true},
		"chunked body":        {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true},
		"both framings":       {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, true},
		"two lengths":         {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400, false},
		"post":                {"POST " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0\r\n\r\n", 400, true},
		"head":                {"HEAD " + ok + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, false},
		"made-up method":      {"GETT " + ok + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"bad escape":          {"GET /access_token?a=%zz HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"bad path escape":     {"GET /%zz HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, false},
		"crlf in token":       {"GET " + ok + "%0d%0aX-Evil:1 HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"two tokens":          {"GET " + ok + "&access_token=b HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"array":               {"GET /access_token?grant_type=ig_exchange_token&access_token[]=b HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"long token":          {"GET " + ok + strings.Repeat("a", 5000) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 400, true},
		"huge request line":   {"GET " + ok + strings.Repeat("a", 64<<10) + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 431, false},
		"huge header":         {"GET " + ok + " HTTP/1.1\r\nHost: " + host + "\r\nX: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", 431, false},
		"http/0.9":            {"GET " + ok + "\r\n\r\n", 400, false},
		"http/3.0":            {"GET " + ok + " HTTP/3.0\r\nHost: " + host + "\r\n\r\n", 505, false},
		"garbage":             {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, false},
		"dot segments":        {"GET /x/../access_token?grant_type=ig_exchange_token&access_token=b HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 404, true},
		"double slash":        {"GET //access_token?grant_type=ig_exchange_token&access_token=b HTTP/1.1\r\nHost: " + host + "\r\n\r\n", 404, true},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", host)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // below server.read_timeout: a held answer fails
			go func() { _, _ = io.WriteString(conn, c.raw) }()    // ends with the connection
			method := strings.ToUpper(strings.SplitN(c.raw, " ", 2)[0])
			res, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
			if err != nil {
				t.Fatalf("no answer: %v", err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if c.status != 0 && res.StatusCode != c.status {
				t.Errorf("got %d %s, want %d", res.StatusCode, body, c.status)
			}
			if c.envelope {
				if e := (reply{status: res.StatusCode, body: string(body)}).graphError(t); e.Message == "" || e.Subcode == 0 {
					t.Errorf("got %s", body)
				}
			}
		})
	}
	if ig.Calls() != 0 {
		t.Errorf("Instagram was asked %d times", ig.Calls())
	}
	if r := p.ask(t, "IGAA-ordinary"); r.status != 200 {
		t.Errorf("an ordinary request afterwards got %d", r.status)
	}
	for _, line := range p.log.lines("request") {
		if text := fmt.Sprint(line); strings.Contains(text, "hostile") || strings.Contains(text, "evil") {
			t.Errorf("the log holds what was sent: %s", text)
		}
	}
}
