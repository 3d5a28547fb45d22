package intercept_test

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/intercept"
)

// tunnel opens a tunnel and returns both of its ends.
func (p *proxy) tunnel(t *testing.T, l net.Listener) (c *client, host net.Conn) {
	t.Helper()
	c = p.client()
	if res, body := c.connect(t, "example.com:443", "", "first"); res.StatusCode != 200 {
		t.Fatalf("CONNECT: got %d %s, want 200", res.StatusCode, body)
	}
	host, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = host.Close() })
	got := make([]byte, 5)
	if _, err := io.ReadFull(host, got); err != nil || string(got) != "first" {
		t.Fatalf("the host got %q (error: %v), want \"first\"", got, err)
	}
	return c, host
}

func TestOneDirectionOfATunnelContinuesAfterTheOtherEnds(t *testing.T) {
	p := serve(t, tunnelling(4))
	l := loopback(t)
	p.leadTo(l)
	large := strings.Repeat("0123456789", 100_000)
	for _, first := range []string{"client", "host"} {
		c, host := p.tunnel(t, l)
		one, other := c.Conn, host
		if first == "host" {
			one, other = other, one
		}
		go func() { // ends with the connection
			_, _ = io.WriteString(one, large)
			_ = one.(*net.TCPConn).CloseWrite()
		}()
		if got, err := io.ReadAll(other); err != nil || string(got) != large {
			t.Errorf("from the %s: got %d bytes (error: %v), want all %d", first, len(got), err, len(large))
		}
		if got := p.Tunnels(); got != 1 {
			t.Errorf("after the %s has closed its half: got %d open tunnels, want 1", first, got)
		}
		_, _ = io.WriteString(other, "reply")
		_ = other.Close()
		if got, err := io.ReadAll(one); err != nil || string(got) != "reply" {
			t.Errorf("to the %s, after it has closed its half: got %q (error: %v), want \"reply\"", first, got, err)
		}
		eventually(t, "the tunnel has ended", func() bool { return p.Tunnels() == 0 })
	}
	if got := p.counted("other", intercept.Tunnelled); got != 2 || p.released != 2 {
		t.Errorf("counted %d tunnels, want 2; counted %d releases, want 2", got, p.released)
	}
}

func TestTunnelsAreBounded(t *testing.T) {
	p := serve(t, tunnelling(2))
	l := loopback(t)
	p.leadTo(l)
	one, host := p.tunnel(t, l)
	p.tunnel(t, l)
	c := p.client()
	if res, body := c.connect(t, "example.com:443", "", ""); res.StatusCode != 503 || res.Header.Get("Retry-After") == "" || !strings.Contains(body, "intercept.max_tunnels") {
		t.Errorf("a third tunnel: got %d, want 503; Retry-After: got %q, want a value; body: got %q, want intercept.max_tunnels in it", res.StatusCode, res.Header.Get("Retry-After"), body)
	}
	if got := p.counted("other", intercept.Busy); got != 1 {
		t.Errorf("counted %d CONNECTs as busy, want 1", got)
	}
	if res, _ := c.connect(t, meta+":443", "", ""); res.StatusCode != 200 {
		t.Errorf("interception while all tunnels are in use: got %d, want 200", res.StatusCode)
	}
	_, _ = one.Close(), host.Close()
	eventually(t, "the first tunnel has ended", func() bool { return p.Tunnels() == 1 })
	p.tunnel(t, l)
}

func TestAHostThatCannotBeReachedIsReported(t *testing.T) {
	p := serve(t, tunnelling(1))
	for name, err := range map[string]error{"refused": syscall.ECONNREFUSED, "not found": &net.DNSError{Err: "no such host", Name: "canary", IsNotFound: true},
		"timeout": context.DeadlineExceeded} {
		p.DialWith(func(context.Context, string, string) (net.Conn, error) { return nil, err })
		res, body := p.client().connect(t, "example.com:443", "", "")
		if res.StatusCode != 502 || strings.Contains(body, "canary") {
			t.Errorf("%s: got %d %s, want 502 without the text of the error", name, res.StatusCode, body)
		}
	}
	if p.counted("other", intercept.Failed) != 3 || p.Tunnels() != 0 {
		t.Errorf("counted %d failures, want 3; %d tunnels are open, want 0", p.counted("other", intercept.Failed), p.Tunnels())
	}
}

// A client that leaves while its host is dialled must not count towards the limit of tunnels.
func TestAClientThatLeavesEndsTheDial(t *testing.T) {
	p := serve(t, tunnelling(1))
	dialled, ended := make(chan bool), make(chan bool)
	p.DialWith(func(ctx context.Context, _, _ string) (net.Conn, error) {
		close(dialled)
		<-ctx.Done()
		close(ended)
		return nil, ctx.Err()
	})
	c := p.client()
	_, _ = io.WriteString(c, "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
	<-dialled
	_ = c.Close()
	<-ended
	eventually(t, "no tunnel is open", func() bool { return p.Tunnels() == 0 })
}

// nameServer returns a resolver with a simulated name server, and a counter of its questions about
// IPv4 addresses. The function answers is called for each such question, and returns the addresses.
func nameServer(answers func() []netip.Addr) (*net.Resolver, *atomic.Int32) {
	var asked atomic.Int32
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		here, there := net.Pipe()
		go func() { // ends with the question
			defer there.Close()
			length := make([]byte, 2)
			if _, err := io.ReadFull(there, length); err != nil {
				return
			}
			question := make([]byte, binary.BigEndian.Uint16(length))
			if _, err := io.ReadFull(there, question); err != nil {
				return
			}
			end := 12 // the question begins here, after the header (RFC 1035, section 4.1)
			for question[end] != 0 {
				end += 1 + int(question[end])
			}
			end += 5 // here the question ends, after its type and its class
			reply := append([]byte{}, question[:end]...)
			reply[2], reply[3], reply[11] = 0x81, 0x80, 0 // an answer, without additional records
			if reply[end-3] == 1 {                        // a question about an IPv4 address
				asked.Add(1)
				for _, a := range answers() {
					reply[7]++
					reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the head of an A record
					reply = append(reply, a.AsSlice()...)
				}
			}
			_, _ = there.Write(binary.BigEndian.AppendUint16(nil, uint16(len(reply))))
			_, _ = there.Write(reply)
		}()
		return here, nil
	}}, &asked
}

// igproxy checks the address that it dials, so an attacker gains nothing with a name server whose
// next answer differs.
func TestTheAddressThatIsDialledIsTheOneThatIsChecked(t *testing.T) {
	p := serve(t, tunnelling(1))
	public, private := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3")
	answers := [][]netip.Addr{{public}, {private}, {private, private}, {public}}
	next := 0
	resolver, asked := nameServer(func() []netip.Addr { next++; return answers[next-1] })
	p.ResolveWith(resolver, func(a netip.Addr) bool { return a == public })
	for i, want := range []int{502, 403, 403, 502} { // nothing listens on port 443 of the public address
		if res, body := p.client().connect(t, "rebind.example:443", "", ""); res.StatusCode != want {
			t.Errorf("a name that resolves to %v: got %d %s, want %d", answers[i], res.StatusCode, body, want)
		}
	}
	if got := asked.Load(); int(got) != len(answers) {
		t.Errorf("got %d lookups, want %d: one for each CONNECT", got, len(answers))
	}
}

func TestLoopbackAndPrivateTargetsGetNoTunnel(t *testing.T) {
	p := serve(t, tunnelling(1))
	for _, target := range []string{"127.0.0.1:443", "[::1]:443", "[::ffff:127.0.0.1]:443", "169.254.169.254:443", "[fd00:ec2::254]:443", "0.0.0.0:443", "[::]:443",
		"[64:ff9b::7f00:1]:443", "localhost:443", "LOCALHOST.:443"} {
		res, body := p.client().connect(t, target, "", "")
		if res.StatusCode != 403 || !strings.Contains(body, "private networks") {
			t.Errorf("%s: got %d %q, want 403 with \"private networks\"", target, res.StatusCode, body)
		}
	}
}

// pipes is a listener of connections within this process, for simulated time.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error {
	select {
	case <-p.closed:
	default:
		close(p.closed)
	}
	return nil
}
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	here, there := net.Pipe()
	p.conns <- there
	return here
}

// simulated serves a Handler on pipes, and opens a tunnel.
func simulated(t *testing.T, idle time.Duration) (p *proxy, c *client, host net.Conn) {
	l, out := newPipes(), newPipes()
	p = start(t, l, l.dial, func(o *intercept.Options) {
		o.Tunnels = intercept.TunnelOptions{MaxTunnels: 2, IdleTimeout: idle}
	})
	p.DialWith(func(context.Context, string, string) (net.Conn, error) { return out.dial(), nil })
	c = p.client()
	accepted := make(chan net.Conn)
	go func() { // ends with the connection
		host, _ := out.Accept()
		accepted <- host
	}()
	if res, body := c.connect(t, "example.com:443", "", ""); res.StatusCode != 200 {
		t.Fatalf("CONNECT: got %d %s, want 200", res.StatusCode, body)
	}
	return p, c, <-accepted
}

func pass(t *testing.T, from io.Writer, to io.Reader) {
	t.Helper()
	go func() { _, _ = io.WriteString(from, "x") }() // ends with the connection
	if _, err := io.ReadFull(to, make([]byte, 1)); err != nil {
		t.Errorf("a byte did not pass: %v", err)
	}
}

func TestATunnelEndsWhenNothingPassesInEitherDirection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, host := simulated(t, time.Minute)
		for range 5 { // only one direction is in use
			time.Sleep(59 * time.Second)
			pass(t, c, host)
		}
		for range 5 {
			time.Sleep(59 * time.Second)
			pass(t, host, c)
		}
		start := time.Now()
		_, err := host.Read(make([]byte, 1))
		if idle := time.Since(start); err == nil || idle < 59*time.Second || idle > 62*time.Second {
			t.Errorf("the tunnel ended after %s without a byte, want 59s to 62s; error of the host's read: got %v, want an error", idle, err)
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("the client's read after the end: got a byte, want an error")
		}
		synctest.Wait()
		if got := p.Tunnels(); got != 0 {
			t.Errorf("got %d open tunnels, want 0", got)
		}
	})
}

// The reads of a tunnel time out once a second, to check how long the tunnel has been idle. Such a
// timeout must not break a TLS connection.
func TestATunnelOverTLSSurvivesWhileItIsIdle(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS() // for its certificate
	server.Close()
	synctest.Test(t, func(t *testing.T) {
		l := newPipes()
		p := start(t, tls.NewListener(l, &tls.Config{Certificates: server.TLS.Certificates}),
			func() net.Conn { return tls.Client(l.dial(), &tls.Config{InsecureSkipVerify: true}) }, tunnelling(1))
		accepted := make(chan net.Conn, 1)
		p.DialWith(func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			accepted <- there
			return here, nil
		})
		c := p.client()
		if res, body := c.connect(t, "example.com:443", "", ""); res.StatusCode != 200 {
			t.Fatalf("CONNECT: got %d %s, want 200", res.StatusCode, body)
		}
		host := <-accepted
		for range 3 {
			time.Sleep(30 * time.Second)
			pass(t, c, host)
			time.Sleep(30 * time.Second)
			pass(t, host, c)
		}
		_ = host.Close()
		_ = c.Close()
	})
}

// A host that does not read must not keep a tunnel open.
func TestATunnelEndsWhenItsReceiverDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c, _ := simulated(t, time.Minute)
		start := time.Now()
		for {
			if _, err := c.Write(make([]byte, 1<<20)); err != nil {
				break
			}
		}
		if took := time.Since(start); took > 3*time.Minute {
			t.Errorf("the tunnel ended after %s, want at most 3m", took)
		}
		synctest.Wait()
		if got := p.Tunnels(); got != 0 {
			t.Errorf("got %d open tunnels, want 0", got)
		}
	})
}

func TestADrainEndsIdleTunnelsSoonAndOthersAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, _ := simulated(t, time.Hour)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil || time.Since(start) > 3*time.Second {
			t.Errorf("an idle tunnel: Shutdown returned %v after %s, want nil within 3s", err, time.Since(start))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p, c, host := simulated(t, time.Hour)
		ended := make(chan struct{})
		go func() { // ends with the tunnel
			defer close(ended)
			for err := error(nil); err == nil; time.Sleep(100 * time.Millisecond) {
				_, err = c.Write([]byte("x"))
			}
		}()
		go func() { _, _ = io.Copy(io.Discard, host) }() // ends with the tunnel
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := p.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("a tunnel in use: Shutdown returned %v after %s, want a deadline error after 1m", err, time.Since(start))
		}
		<-ended
		synctest.Wait()
		if got := p.Tunnels(); got != 0 {
			t.Errorf("got %d open tunnels, want 0", got)
		}
	})
}

func TestNoTunnelIsOpenedAfterAStop(t *testing.T) {
	for name, stop := range map[string]func(p *proxy) error{
		"Shutdown":                 func(p *proxy) error { return p.Shutdown(context.Background()) },
		"Close":                    func(p *proxy) error { p.Close(); return nil },
		"Close twice and Shutdown": func(p *proxy) error { p.Close(); p.Close(); return p.Shutdown(context.Background()) },
	} {
		p := serve(t, tunnelling(1))
		l := loopback(t)
		p.leadTo(l)
		if err := stop(p); err != nil {
			t.Errorf("%s: got the error %v, want nil", name, err)
		}
		for range 2 {
			if res, body := p.client().connect(t, "example.com:443", "", ""); res.StatusCode != 503 || !strings.Contains(body, "stopping") {
				t.Errorf("after %s: got %d %s, want 503 with \"stopping\"", name, res.StatusCode, body)
			}
		}
		if got := p.Tunnels(); got != 0 {
			t.Errorf("after %s: got %d open tunnels, want 0", name, got)
		}
	}
}

// Close also ends a tunnel in which one direction has already ended.
func TestCloseEndsEveryTunnelAtOnce(t *testing.T) {
	for name, before := range map[string]func(c *client, host net.Conn){
		"idle":                            func(*client, net.Conn) {},
		"the client has ended its stream": func(c *client, host net.Conn) { _ = c.Conn.(*net.TCPConn).CloseWrite(); _, _ = io.ReadAll(host) },
		"the host has ended its stream":   func(c *client, host net.Conn) { _ = host.(*net.TCPConn).CloseWrite(); _, _ = io.ReadAll(c) },
	} {
		p := serve(t, func(o *intercept.Options) { o.Tunnels = intercept.TunnelOptions{MaxTunnels: 1, IdleTimeout: time.Hour} })
		l := loopback(t)
		p.leadTo(l)
		c, host := p.tunnel(t, l)
		before(c, host)
		p.Close()
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := p.Shutdown(ctx); err != nil || time.Since(start) > 5*time.Second {
			t.Errorf("%s: after Close, Shutdown returned %v after %s, want nil within 5s", name, err, time.Since(start))
		}
	}
}
