package integration

// These methods send the requests and cause the faults of TestNoLeaks.

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
	"github.com/igproxy/igproxy/proxy/mock"
)

// twelveAtATime calls f for each number below n, with at most twelve calls at a time. With many
// more, some requests would time out on a busy machine before Instagram is called.
func twelveAtATime(n int, f func(i int)) {
	const atOnce = 12
	crowd(atOnce, func(first int) {
		for i := first; i < n; i += atOnce {
			f(i)
		}
	})
}

// faults sends a token for every fault that does not pause the app. It sends each token twice,
// because the second answer may come from memory.
func (l *leaks) faults(p *process) {
	t := l.t
	prefixes := []string{"IGAA"}
	for _, f := range mock.Faults() {
		if !strings.HasPrefix(f.Name, "limit4") && f.Name != "limit613" && f.Name != "wrongsecret" {
			prefixes = append(prefixes, f.Prefix())
		}
	}
	twelveAtATime(len(prefixes), func(i int) {
		short := l.short(prefixes[i])
		for range 2 {
			r, err := fetchWith(t.Context(), noKeepAlive, p.URL+exchangePath(short), "X-Igproxy-Token", l.bearer)
			if err != nil {
				t.Errorf("%s: %v", prefixes[i], err)
				return
			}
			l.answered(short, r)
		}
		if l.ig.CallsFor(short) == 0 {
			t.Errorf("%s: got 0 calls to Instagram, want at least 1 (another fault may have paused the app)", prefixes[i])
		}
	})
	l.pages(p)
}

// strangers sends requests without igproxy's own token, with a token that is almost correct, and
// with the correct token twice or in a wrong place.
func (l *leaks) strangers(p *process) {
	short := l.short("IGAA")
	for _, fields := range [][]string{
		{},
		{"X-Igproxy-Token", l.bearer + "x"},
		{"X-Igproxy-Token", l.bearer, "X-Igproxy-Token", l.bearer},
		{"Authorization", "Bearer " + l.bearer + "x"},
		{"Authorization", "OAuth " + l.bearer},
		{"Authorization", "Basic " + l.bearer},
		{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(l.bearer+":x"))},
		{"Proxy-Authorization", "Bearer " + l.bearer},
		{"Cookie", "token=" + l.bearer},
	} {
		r, err := fetchWith(l.t.Context(), http.DefaultClient, p.URL+exchangePath(short), fields...)
		if err != nil || r.status != 401 {
			l.t.Errorf("with the header fields %q: got %d, %v; want 401", fields, r.status, err)
		}
		l.answered(short, r)
	}
}

// misplaced puts each secret into many places of a request.
func (l *leaks) misplaced(p *process) {
	host := strings.TrimPrefix(p.URL, "http://")
	short := l.short("IGAA")
	for _, c := range append(l.configuredSecrets(), hidden{text: short}) {
		raw, escaped := c.text, url.QueryEscape(c.text)
		const good = "grant_type=ig_exchange_token"
		for _, request := range []string{
			"GET /" + escaped + " HTTP/1.1\r\nHost: " + host,
			"GET /" + raw + "%zz HTTP/1.1\r\nHost: " + host,
			"GET /access_token/" + escaped + "?" + good + " HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "&access_token=" + escaped + "%20x&client_secret=" + escaped + " HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "&access_token=1&access_token=" + escaped + " HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "&access_token[" + escaped + "]=1 HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "&" + escaped + "=%zz HTTP/1.1\r\nHost: " + host,
			"GET /access_token?grant_type=" + escaped + "&access_token=1 HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "#" + escaped + " HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "&access_token=" + strings.Repeat(escaped, 200) + " HTTP/1.1\r\nHost: " + host,
			"GET /access_token?" + good + "&access_token=" + strings.Repeat(escaped, 2000) + " HTTP/1.1\r\nHost: " + host,
			"GET http://" + escaped + ".example/access_token HTTP/1.1\r\nHost: " + host,
			"CONNECT " + escaped + ":443 HTTP/1.1\r\nHost: " + host,
			"POST /access_token HTTP/1.1\r\nHost: " + host + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(raw)) + raw,
			"POST /_igproxy/" + escaped + " HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: 0",
			"POST /_igproxy/webhook HTTP/1.1\r\nHost: " + host + "\r\nX-Hub-Signature-256: " + raw + "\r\nX-Hub-Signature: sha1=" + raw,
			"POST /_igproxy/webhook HTTP/1.1\r\nHost: " + host + "\r\nX-Hub-Signature-256: " + signs(raw+"x", raw) + fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(raw)) + raw,
			"POST /_igproxy/signed_request HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: application/x-www-form-urlencoded" +
				fmt.Sprintf("\r\nContent-Length: %d\r\n\r\nsigned_request=", len("signed_request="+escaped)) + escaped,
			"POST /_igproxy/signed_request HTTP/1.1\r\nHost: " + host + "\r\nContent-Type: multipart/form-data; boundary=" + strings.Map(letter, raw) +
				fmt.Sprintf("\r\nContent-Length: %d\r\n\r\n", len(raw)) + raw,
			strings.Map(letter, raw) + " /access_token HTTP/1.1\r\nHost: " + host,
			"GET /access_token " + raw + "\r\nHost: " + host,
			"GET /access_token HTTP/1.1\r\nHost: " + strings.Map(letter, raw) + ".example",
			"GET /access_token HTTP/1.1\r\nHost: " + host + "\r\nOrigin: https://" + raw,
			"GET /access_token HTTP/1.1\r\nHost: " + host + "\r\n" + raw + " : x",
			"GET /access_token HTTP/1.1\r\nHost: " + host + "\r\nContent-Length: " + raw,
			"GET /access_token HTTP/1.1\r\nHost: " + host + "\r\nTransfer-Encoding: " + raw,
			"GET /access_token?" + good + " HTTP/1.1\r\nHost: " + host + "\r\nAuthorization: Bearer " + raw + " " + raw + "\r\nX-Request-Id: " + raw + "\r\nCookie: " + raw,
			raw,
		} {
			l.send(host, request+"\r\n\r\n", "", c.text)
		}
	}
}

// letter keeps letters and digits, which may occur in methods and host names, and drops the rest.
func letter(r rune) rune {
	if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}

// hostile sends a fifth of the corpus of hostile requests. Before that, it puts a token into
// igproxy's cache. Many entries contain this token, and the search for leaks looks for it.
func (l *leaks) hostile(p *process) {
	host := strings.TrimPrefix(p.URL, "http://")
	values, warm := placeholders(host), l.short("IGAA")
	for name, value := range values {
		values[name] = strings.ReplaceAll(value, values["warm"], url.QueryEscape(warm))
	}
	l.answered(warm, p.ask(l.t, warm))
	corpus := readHostile(l.t)
	const slice = 5 // every fifth entry
	crowd(8, func(i int) {
		for n := i * slice; n < len(corpus); n += 8 * slice {
			wire, err := expand(corpus[n].wire, values)
			if err != nil {
				l.t.Errorf("%s: %v", corpus[n].name, err)
				return
			}
			l.send(host, wire, warm, warm)
		}
	})
	l.pages(p)
}

// ownToken200 matches the beginning of the body of a response with a token.
var ownToken200 = regexp.MustCompile(`\{"access_token":"([^"]*)",`)

// passed matches every response that igproxy passed through from the stand-in, and no response that
// igproxy made itself.
var passed = regexp.MustCompile(`(?m)^X-Fb-Trace-Id: `)

// send sends wire to host and records the response, without the long-lived tokens that were issued
// for the token in the parameter shown. If the response repeats the path of a passed-through call,
// send also removes the secret in the parameter own from that path.
func (l *leaks) send(host, wire, shown, own string) {
	c, err := net.Dial("tcp", host)
	if err != nil {
		l.t.Error(err)
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(heldTimeout))
	written := make(chan struct{})
	go func() { // ends with the connection
		defer close(written)
		_, _ = io.WriteString(c, wire)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	answer, _ := io.ReadAll(c) // a reset after the response does not matter here
	<-written
	if passed.Match(answer) {
		for _, spelled := range []string{own, url.QueryEscape(own), url.PathEscape(own)} {
			answer = bytes.ReplaceAll(answer, []byte(`"Unknown path components: /`+spelled), []byte(`"Unknown path components: /`))
			answer = bytes.ReplaceAll(answer, []byte(`"Unknown path components: /access_token/`+spelled), []byte(`"Unknown path components: /`))
		}
	}
	l.record("raw responses", ownToken200.ReplaceAllStringFunc(string(answer), func(found string) string {
		if shown != "" && slices.Contains(l.issued(shown), ownToken200.FindStringSubmatch(found)[1]) {
			return `{"access_token":"",`
		}
		return found
	}))
}

// redisFails sends requests while Redis lies, while it is full, while it hangs, and after it has
// recovered.
func (l *leaks) redisFails(p *process, redis *redistest.Server, liar *redistest.Liar) {
	t := l.t
	ask := func(n int) {
		crowd(n, func(int) {
			short := l.short("IGAA")
			for range 2 {
				r, err := p.try(t.Context(), short)
				if err != nil || r.status != 200 {
					t.Errorf("got %d, %v; want 200", r.status, err)
					return
				}
				l.answered(short, r)
			}
		})
		l.record("redis, all", redis.Dump())
	}
	ask(10)
	for _, lie := range redistest.Lies {
		liar.SetLie(lie, 2)
		ask(10)
	}
	liar.SetLie(redistest.Truth, 1)
	redis.Do("CONFIG", "SET", "maxmemory", "1")
	ask(10)
	redis.Do("CONFIG", "SET", "maxmemory", "0")
	redis.Pause()
	for range 10 {
		short := l.short("IGAA")
		l.answered(short, p.ask(t, short))
	}
	l.pages(p)
	redis.Resume()
	ask(10)
}
