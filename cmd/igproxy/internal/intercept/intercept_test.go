package intercept_test

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/intercept"
)

func basic(userinfo string) string {
	return "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(userinfo)) + "\r\n"
}

func bearers(tokens ...string) (digests [][sha256.Size]byte) {
	for _, token := range tokens {
		digests = append(digests, sha256.Sum256([]byte(token)))
	}
	return digests
}

func TestAClientMustSendTheTokenAsItsPassword(t *testing.T) {
	accepted := bearers("current-token", "previous:token")
	p := serve(t, func(o *intercept.Options) { o.Bearers = func() [][sha256.Size]byte { return accepted } })
	p.acceptAll(t)
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"the token":                              {basic("igproxy:current-token"), 200},
		"without a user name":                    {basic(":current-token"), 200},
		"with any user name":                     {basic("me:current-token"), 200},
		"the previous token":                     {basic("igproxy:previous:token"), 200},
		"the scheme in capitals":                 {strings.Replace(basic("x:current-token"), "Basic", "BASIC", 1), 200},
		"nothing":                                {"", 407},
		"another token":                          {basic("igproxy:other-token"), 407},
		"a part of the token":                    {basic("igproxy:current"), 407},
		"the token and a space":                  {basic("igproxy:current-token "), 407},
		"an empty token":                         {basic("igproxy:"), 407},
		"the token as the user name":             {basic("current-token:"), 407},
		"no colon":                               {basic("current-token"), 407},
		"two headers":                            {basic("x:current-token") + basic("x:current-token"), 407},
		"Bearer":                                 {"Proxy-Authorization: Bearer current-token\r\n", 407},
		"Basic's credentials as Bearer":          {strings.Replace(basic("x:current-token"), "Basic", "Bearer", 1), 407},
		"not base64":                             {"Proxy-Authorization: Basic !!!\r\n", 407},
		"no credentials":                         {"Proxy-Authorization: Basic\r\n", 407},
		"Authorization, not Proxy-Authorization": {strings.TrimPrefix(basic("x:current-token"), "Proxy-"), 407},
	} {
		for _, target := range []string{meta + ":443", "example.com:443", "nonsense"} {
			res, body := p.client().connect(t, target, c.header, "")
			want := c.want
			if want == 200 && target != meta+":443" {
				want = map[string]int{"example.com:443": 403, "nonsense": 400}[target]
			}
			challenged := res.Header.Get("Proxy-Authenticate") == `Basic realm="igproxy", charset="UTF-8"`
			if res.StatusCode != want || challenged != (want == 407) {
				t.Errorf("%s, CONNECT %s: got %d %q, want %d; a challenge in Proxy-Authenticate: got %t, want %t", name, target, res.StatusCode, body, want, challenged, want == 407)
			}
		}
	}
	accepted = bearers("next-token")
	for token, want := range map[string]int{"next-token": 200, "current-token": 407} {
		if res, _ := p.client().connect(t, meta+":443", basic(":"+token), ""); res.StatusCode != want {
			t.Errorf("after a rotation, with %s: got %d, want %d", token, res.StatusCode, want)
		}
	}
	if strings.Contains(p.logged(), "token") || strings.Contains(p.logged(), "status=407") {
		t.Errorf("log: got %q, want neither \"token\" nor \"status=407\"", p.logged())
	}
	if got := p.counted(meta, intercept.Unauthorized); got != 14 {
		t.Errorf("counted %d CONNECTs with a missing or wrong token, want 14", got)
	}
}

// Many clients send their password only after a 407.
func TestAClientMaySendTheTokenOnTheConnectionThatGotThe407(t *testing.T) {
	p := serve(t, func(o *intercept.Options) {
		o.Bearers = func() [][sha256.Size]byte { return bearers("the-token") }
	})
	c := p.client()
	if res, _ := c.connect(t, meta+":443", "", ""); res.StatusCode != 407 || res.Close {
		t.Fatalf("without a token: got %d, want 407; closes the connection: got %t, want false", res.StatusCode, res.Close)
	}
	if res, body := c.connect(t, meta+":443", basic("x:the-token"), "hello"); res.StatusCode != 200 || len(res.Header) > 0 {
		t.Fatalf("with the token: got %d %s, want 200; headers: got %v, want none", res.StatusCode, body, res.Header)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(p.accept(t), got); err != nil || string(got) != "hello" {
		t.Errorf("on the intercepted connection: got %q (error: %v), want \"hello\"", got, err)
	}
}

func TestOnlyTokenHostsOnPort443AreIntercepted(t *testing.T) {
	for _, mode := range []string{"refuse", "tunnel"} {
		var change func(*intercept.Options)
		if mode == "tunnel" {
			change = tunnelling(4)
		}
		p := serve(t, change)
		closed := loopback(t)
		_ = closed.Close()
		p.leadTo(closed) // so every tunnel fails with 502
		p.acceptAll(t)
		for target, want := range map[string]map[string]int{
			meta + ":443":                     {"refuse": 200, "tunnel": 200},
			"GRAPH.Facebook.com:443":          {"refuse": 200, "tunnel": 200},
			meta + ".:443":                    {"refuse": 200, "tunnel": 200},
			meta + ":80":                      {"refuse": 403, "tunnel": 403},
			meta + ":8443":                    {"refuse": 403, "tunnel": 403},
			meta + ":0443":                    {"refuse": 403, "tunnel": 403},
			"www.facebook.com:443":            {"refuse": 403, "tunnel": 502},
			"x." + meta + ":443":              {"refuse": 403, "tunnel": 502},
			meta + ".evil.example:443":        {"refuse": 403, "tunnel": 502},
			"157.240.1.1:443":                 {"refuse": 403, "tunnel": 502},
			"[2a03:2880:f12f::1]:443":         {"refuse": 403, "tunnel": 502},
			meta:                              {"refuse": 400, "tunnel": 400},
			meta + ":":                        {"refuse": 403, "tunnel": 403},
			meta + "..:443":                   {"refuse": 400, "tunnel": 400},
			":443":                            {"refuse": 400, "tunnel": 400},
			"user@" + meta + ":443":           {"refuse": 400, "tunnel": 400},
			"user:pw@" + meta + ":443":        {"refuse": 400, "tunnel": 400},
			meta + ":443/path":                {"refuse": 403, "tunnel": 403},
			meta + ":443?x=1":                 {"refuse": 403, "tunnel": 403},
			"http://" + meta + ":443":         {"refuse": 400, "tunnel": 400},
			"[fe80::1%25lo]:443":              {"refuse": 400, "tunnel": 400},
			strings.Repeat("a", 300) + ":443": {"refuse": 400, "tunnel": 400},
		} {
			if res, body := p.client().connect(t, target, "", ""); res.StatusCode != want[mode] {
				t.Errorf("intercept.others: %s, CONNECT %s: got %d %q, want %d", mode, target, res.StatusCode, body, want[mode])
			}
		}
		// The target of the CONNECT decides, not the header Host.
		for text, want := range map[string]int{
			"CONNECT " + meta + ":443 HTTP/1.1\r\nHost: example.com\r\n\r\n":    200,
			"CONNECT " + meta + ":443 HTTP/1.0\r\n\r\n":                         200,
			"CONNECT /x HTTP/1.1\r\nHost: " + meta + ":443\r\n\r\n":             400,
			"CONNECT * HTTP/1.1\r\nHost: " + meta + ":443\r\n\r\n":              400,
			"CONNECT example.com:80 HTTP/1.1\r\nHost: " + meta + ":443\r\n\r\n": 403,
			"CONNECT x\r\n.example:443 HTTP/1.1\r\nHost: x\r\n\r\n":             400,
		} {
			if res, body := p.client().send(t, text); res.StatusCode != want {
				t.Errorf("intercept.others: %s, the request %q: got %d %q, want %d", mode, text, res.StatusCode, body, want)
			}
		}
		eventually(t, "all five CONNECTs to a token host are counted as intercepted", func() bool { return p.counted(meta, intercept.Intercepted) == 5 })
	}
}

// A reload may add or remove a service, and its hosts with it.
func TestAChangeOfTheHostsTakesEffectAtOnce(t *testing.T) {
	var hosts atomic.Value
	hosts.Store([]string{"api.instagram.com"})
	p := serve(t, func(o *intercept.Options) { o.Hosts = func() []string { return hosts.Load().([]string) } })
	p.acceptAll(t)
	c := p.client()
	if res, body := c.connect(t, meta+":443", "", ""); res.StatusCode != 403 || !strings.Contains(body, "api.instagram.com") || !strings.Contains(body, "intercept.others") {
		t.Errorf("before the change: got %d %q, want 403 with api.instagram.com and intercept.others", res.StatusCode, body)
	}
	hosts.Store([]string{meta})
	if res, body := c.connect(t, meta+":443", "", ""); res.StatusCode != 200 {
		t.Errorf("after the change: got %d %s, want 200", res.StatusCode, body)
	}
}

// In this test, the client never sends the body that its request announces.
func TestBodiesAndMethodsOtherThanCONNECTAreRefusedAtOnce(t *testing.T) {
	p := serve(t, tunnelling(1))
	for text, want := range map[string]int{
		"GET http://graph.facebook.com/me?access_token=EAAcanary HTTP/1.1\r\nHost: graph.facebook.com\r\n\r\n":       405,
		"GET /access_token?access_token=EAAcanary HTTP/1.1\r\nHost: localhost\r\n\r\n":                               405,
		"POST http://graph.facebook.com/ HTTP/1.1\r\nHost: graph.facebook.com\r\nContent-Length: 9\r\n\r\n":          405,
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n":                                            405,
		"CONNECT graph.facebook.com:443 HTTP/1.1\r\nHost: graph.facebook.com\r\nContent-Length: 9\r\n\r\n":           400,
		"CONNECT graph.facebook.com:443 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n":                   400,
		"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n": 400,
	} {
		res, body := p.client().send(t, text)
		if res.StatusCode != want || body == "" || want == 405 && res.Header.Get("Allow") != "CONNECT" {
			t.Errorf("%q: got %d, want %d; body: got %q, want a text; Allow: got %q, want CONNECT with 405", text, res.StatusCode, want, body, res.Header.Get("Allow"))
		}
	}
	if log := p.logged(); strings.Contains(log, "canary") || !strings.Contains(log, "target=graph.facebook.com status=405") {
		t.Errorf("log: got %q, want target=graph.facebook.com status=405 and no canary", log)
	}
}

// A target that is not a host's name may be a secret that was written in the wrong place.
func TestTheLogShowsOnlyTheHostOfATarget(t *testing.T) {
	p := serve(t, nil)
	for target, want := range map[string]string{"Example.com:443": "target=example.com ", "[2001:db8::1]:443": "target=2001:db8::1 ",
		"igproxy:canary@example.com:443": "target=invalid ", "[::1%25canary]:443": "target=invalid ", "0123456789ABCDEF0123456789abcanary:443": "target=hidden ", "0123456789abcdef0123456789canary.example:443": "target=hidden "} {
		p.client().connect(t, target, basic("x:canary"), "")
		if log := p.logged(); !strings.Contains(log, want) || strings.Contains(log, "canary") {
			t.Errorf("CONNECT %s: log: got %q, want %q and no canary", target, log, want)
		}
	}
}

func TestBytesThatAClientSendsTogetherWithCONNECTArrive(t *testing.T) {
	p := serve(t, nil)
	first := strings.Repeat("0123456789abcdef", 512) // more than the buffer of net/http holds
	for range 20 {
		c := p.client()
		if res, _ := c.connect(t, meta+":443", "", first); res.StatusCode != http.StatusOK {
			t.Fatalf("CONNECT: got %d, want 200", res.StatusCode)
		}
		served := p.accept(t)
		_, _ = io.WriteString(c, "more")
		got := make([]byte, len(first)+4)
		if n, err := io.ReadFull(served, got); err != nil || string(got) != first+"more" {
			t.Fatalf("got %d bytes (error: %v), want the %d bytes that the client sent, unchanged", n, err, len(got))
		}
		_, _ = io.WriteString(served, "reply")
		if err := served.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Error(err)
		}
		if reply, err := io.ReadAll(c); err != nil || string(reply) != "reply" {
			t.Errorf("the client got %q (error: %v), want \"reply\"", reply, err)
		}
	}
}

// A connection counts towards the limit of the listener of CONNECT requests until the listener of
// intercepted connections accepts it. If it were released before, any number of connections
// could wait to be accepted.
func TestAConnectionIsReleasedWhenItIsAccepted(t *testing.T) {
	p := serve(t, nil)
	released := func() int { p.mu.Lock(); defer p.mu.Unlock(); return p.released }
	if res, _ := p.client().connect(t, meta+":443", "", ""); res.StatusCode != 200 {
		t.Fatalf("CONNECT: got %s, want 200", res.Status)
	}
	if got := released(); got != 0 {
		t.Errorf("released %d connections before one was accepted, want 0", got)
	}
	p.accept(t)
	if got := released(); got != 1 {
		t.Errorf("released %d connections after one was accepted, want 1", got)
	}
}

// A drain looks for unread bytes in the socket before it closes an idle connection.
func TestAnInterceptedConnectionHasASocket(t *testing.T) {
	p := serve(t, nil)
	p.client().connect(t, meta+":443", "", "")
	socket, ok := p.accept(t).(syscall.Conn)
	if !ok {
		t.Fatal("the accepted connection does not implement syscall.Conn")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(uintptr) {}); err != nil {
		t.Error(err)
	}
}

func TestClosingTheListenerClosesConnectionsNotYetAccepted(t *testing.T) {
	p := serve(t, nil)
	c := p.client()
	if res, _ := c.connect(t, meta+":443", "", ""); res.StatusCode != 200 {
		t.Fatalf("CONNECT: got %s, want 200", res.Status)
	}
	_ = p.Listener().Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("a read after the listener was closed: got %d bytes, want an error", n)
	}
	if _, err := p.Listener().Accept(); err == nil {
		t.Error("Accept of a closed listener: got no error, want an error")
	}
}
