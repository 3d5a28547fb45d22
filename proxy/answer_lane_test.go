package proxy

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// laneServer is an http.Server as the command configures it, with or without the lane, on
// connections in memory.
type laneServer struct {
	*http.Server
	pipes *pipes
}

const (
	laneIdle   = 90 * time.Second
	laneWrite  = 20 * time.Second
	laneHeader = 5 * time.Second
)

func newLaneServer(t testing.TB, p *Proxy, on bool) *laneServer {
	t.Helper()
	return newLaneServerOf(t, p, on, laneIdle)
}

func newLaneServerOf(t testing.TB, p *Proxy, on bool, idle time.Duration) *laneServer {
	t.Helper()
	s := &laneServer{pipes: &pipes{come: make(chan net.Conn), closed: make(chan struct{}), wrap: func(c net.Conn) net.Conn { return c }},
		Server: &http.Server{Handler: p, IdleTimeout: idle, WriteTimeout: laneWrite, ReadHeaderTimeout: laneHeader, ReadTimeout: 10 * time.Second,
			ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), DisableGeneralOptionsHandler: true}}
	if on {
		lane := p.NewLane(idle, laneWrite)
		s.pipes.wrap, s.ConnState = lane.Wrap, lane.ConnState
	}
	done := make(chan struct{})
	go func() { // ends with the server
		defer close(done)
		_ = s.Serve(s.pipes)
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return s
}

// pipes is a listener of connections in memory.
type pipes struct {
	come   chan net.Conn
	closed chan struct{}
	once   sync.Once
	wrap   func(net.Conn) net.Conn
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.come:
		return l.wrap(c), nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (s *laneServer) dial(t testing.TB) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	s.pipes.come <- theirs
	t.Cleanup(func() { _ = ours.Close() })
	return ours
}

// laneClient returns a client of a server with the lane.
func laneClient(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := newLaneServer(t, laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil)), true).dial(t)
	return c, bufio.NewReader(c)
}

const (
	warmToken  = "IGAA-warm"
	laneHost   = "Host: 127.0.0.1:8080\r\n"
	hitRequest = "GET /access_token?grant_type=ig_exchange_token&access_token=" + warmToken + " HTTP/1.1\r\n" + laneHost + "\r\n"
)

// laneProxy returns a Proxy that has one token in memory and no Instagram.
func laneProxy(t testing.TB, o Options) *Proxy {
	t.Helper()
	p := newProxy(t, o)
	e := *p.current.Load()
	e.first = &recallStep{cache: p.carried.cache, next: exchangeFunc(func(context.Context, call) (answer, error) {
		return answer{}, errOverloaded()
	})}
	p.current.Store(&e)
	a := tokenAnswer(t, "IGAA-long", 60*24*time.Hour)
	p.carried.cache.Keep(e.shortcut.keys.Derive(warmToken), cache.Entry{Value: encodeRecord(a), Expires: time.Now().Add(time.Hour)})
	return p
}

// roundTrip writes a request and reads its answer.
func roundTrip(t testing.TB, c net.Conn, r *bufio.Reader, request string) (*http.Response, string) {
	t.Helper()
	written := make(chan error, 1)
	go func() { _, err := io.WriteString(c, request); written <- err }() // a pipe has no buffer
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	body, err := io.ReadAll(res.Body)
	if err := errors.Join(err, <-written); err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// activations counts the requests that net/http gets.
func activations(s *laneServer) *int {
	n := new(int)
	next := s.ConnState
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateActive {
			*n++
		}
		next(c, state)
	}
	return n
}

func TestLaneAnswersOnlyHits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		s := newLaneServer(t, p, true)
		active := activations(s)
		c := s.dial(t)
		r := bufio.NewReader(c)
		other := strings.Replace(hitRequest, warmToken, "IGAA-cold", 1)
		for i, one := range []struct {
			request          string
			status, requests int // that net/http got so far
		}{
			{hitRequest, 200, 1}, {hitRequest, 200, 1}, {hitRequest, 200, 1},
			{other, 503, 2}, {hitRequest, 200, 2}, {strings.ReplaceAll(hitRequest, "\r\n\r\n", "\r\nX-Own: 1\r\n\r\n"), 200, 3}, {hitRequest, 200, 3},
		} {
			res, body := roundTrip(t, c, r, one.request)
			synctest.Wait()
			if res.StatusCode != one.status || *active != one.requests {
				t.Errorf("request %d: %d %s, and net/http got %d; want %d and %d", i, res.StatusCode, body, *active, one.status, one.requests)
			}
		}
	})
}

// What follows such a request is ambiguous, so net/http keeps the connection.
func TestTheLaneLeavesAConnectionWithAmbiguousRequests(t *testing.T) {
	for name, first := range map[string]string{"a trailer": strings.Replace(hitRequest, "\r\n\r\n", "\r\nTrailer: x\r\n\r\n", 1), "two at once": hitRequest + hitRequest, "half a request": hitRequest[:20]} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
				s := newLaneServer(t, p, true)
				active := activations(s)
				c := s.dial(t)
				r := bufio.NewReader(c)
				if name == "half a request" {
					_, _ = io.WriteString(c, first)
					synctest.Wait()
					first = hitRequest[20:]
				}
				if name == "two at once" {
					roundTrip(t, c, r, first)
					if _, err := http.ReadResponse(r, nil); err != nil { // its body is in the buffer of r
						t.Fatal(err)
					}
					_, _ = r.Discard(r.Buffered())
				} else {
					roundTrip(t, c, r, first)
				}
				synctest.Wait()
				before := *active
				roundTrip(t, c, r, hitRequest)
				synctest.Wait()
				if *active != before+1 {
					t.Errorf("net/http got %d requests, want %d", *active, before+1)
				}
			})
		})
	}
}

func TestPipelinedHitsAreAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		roundTrip(t, c, r, hitRequest)
		cold := strings.Replace(hitRequest, warmToken, "IGAA-cold", 1)
		go func() { _, _ = io.WriteString(c, strings.Repeat(hitRequest, 3)+cold+hitRequest+cold[:50]) }()
		for i, want := range []int{200, 200, 200, 503, 200} {
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != want {
				t.Fatalf("answer %d: %v, %v; want %d", i, res, err, want)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	})
}

func TestAConnectionOfTheLaneEndsWhenItIsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		for range 5 { // each request restarts the timeout
			roundTrip(t, c, r, hitRequest)
			time.Sleep(laneIdle - 2*time.Second)
		}
		roundTrip(t, c, r, hitRequest)
		start := time.Now()
		if _, err := r.ReadByte(); err != io.EOF {
			t.Fatalf("got %v, want the end", err)
		}
		if took := time.Since(start); took < laneIdle-time.Second || took > laneIdle {
			t.Errorf("it ended after %s, want %s, or up to a second less", took, laneIdle)
		}
	})
}

func TestIdleTimeBeginsWhenAnAnswerIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		s := newLaneServerOf(t, p, true, time.Second)
		c := s.dial(t)
		r := bufio.NewReader(c)
		roundTrip(t, c, r, hitRequest)
		_, _ = io.WriteString(c, hitRequest)
		time.Sleep(3 * time.Second) // the client reads late
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		time.Sleep(time.Second / 2)
		roundTrip(t, c, r, hitRequest)
	})
}

// A client that has read an answer may ask again before net/http has noticed that the answer is
// written.
func TestTheLaneAnswersARequestThatComesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		e := *p.current.Load()
		e.first = exchangeFunc(func(context.Context, call) (answer, error) {
			time.Sleep(time.Second)
			return answer{}, errOverloaded()
		})
		p.current.Store(&e)
		s := newLaneServer(t, p, true)
		active := activations(s)
		c := s.dial(t)
		r := bufio.NewReader(c)
		roundTrip(t, c, r, hitRequest) // by net/http, and slow here
		for range 3 {
			cold := strings.Replace(hitRequest, warmToken, "IGAA-cold", 1)
			go func() {
				_, _ = io.WriteString(c, cold)
				time.Sleep(time.Second / 2)
				_, _ = io.WriteString(c, hitRequest)
			}()
			for _, want := range []int{503, 200} {
				res, err := http.ReadResponse(r, nil)
				if err != nil || res.StatusCode != want {
					t.Fatalf("got %v, %v; want %d", res, err, want)
				}
				_, _ = io.Copy(io.Discard, res.Body)
			}
		}
		if *active != 1+3 {
			t.Errorf("net/http got %d requests, want 4", *active)
		}
	})
}

// Keeping the early byte must not hide that a client leaves before it sends one.
func TestAClientThatLeavesDuringARequestIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		e, gone := *p.current.Load(), make(chan struct{})
		e.first = exchangeFunc(func(ctx context.Context, _ call) (answer, error) {
			<-ctx.Done()
			close(gone)
			return answer{}, errCallerGone
		})
		p.current.Store(&e)
		c := newLaneServer(t, p, true).dial(t)
		_, _ = io.WriteString(c, hitRequest)
		synctest.Wait()
		_ = c.Close()
		<-gone
	})
}

func TestHalfARequestTimesOutInTheLaneToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		roundTrip(t, c, r, hitRequest)
		roundTrip(t, c, r, hitRequest)
		time.Sleep(laneIdle / 2)
		_, _ = io.WriteString(c, hitRequest[:30])
		start := time.Now()
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < laneHeader || took > laneHeader+time.Second { // net/http lingers a moment
			t.Errorf("it ended after %s, want %s", took, laneHeader)
		}
	})
}

func TestAClientThatDoesNotReadEndsInTheLaneToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		roundTrip(t, c, r, hitRequest)
		time.Sleep(laneWrite + time.Second) // net/http's own deadline for the last answer has passed
		roundTrip(t, c, r, hitRequest)
		_, _ = io.WriteString(c, hitRequest)
		start := time.Now()
		time.Sleep(laneWrite + time.Second)
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > laneWrite+time.Second {
			t.Errorf("it ended after %s, want at most %s", took, laneWrite)
		}
	})
}

// net.Pipe has no buffer, so an answer that is not read yet is still being written.
func TestDrainDoesNotCutLaneAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		s := newLaneServer(t, p, true)
		c := s.dial(t)
		r := bufio.NewReader(c)
		roundTrip(t, c, r, hitRequest)
		_, _ = io.WriteString(c, hitRequest)
		synctest.Wait()
		p.Drain()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "IGAA-long") {
			t.Errorf("got %s, %v", body, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("got %v, want the end", err)
		}
	})
}

func TestADrainingProxyLeavesEverythingToNetHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
		s := newLaneServer(t, p, true)
		active := activations(s)
		c := s.dial(t)
		r := bufio.NewReader(c)
		roundTrip(t, c, r, hitRequest)
		p.Drain()
		roundTrip(t, c, r, hitRequest)
		synctest.Wait()
		if *active != 2 {
			t.Errorf("net/http got %d requests, want 2", *active)
		}
	})
}

// If a request must carry a token, or could be for another app, decode has to decide.
func TestLaneLeavesDecisionsToDecode(t *testing.T) {
	two := optionsFor(t, "https://graph.instagram.com", nil)
	two.Apps = []App{{Label: "a", ID: "1", Secret: NewSecret(testSecret)}, {Label: "b", ID: "2", Secret: NewSecret(testSecret)}}
	bearer := optionsFor(t, "https://graph.instagram.com", nil)
	bearer.Bearers = trusting(sha256.Sum256([]byte(ownToken))).digests
	threads := optionsFor(t, "https://graph.instagram.com", nil)
	threads.Apps = append(threads.Apps, App{Label: "threads", Service: Threads, ID: "3", Secret: NewSecret(testSecret)})
	for name, c := range map[string]struct {
		o    Options
		want bool
	}{"one app": {optionsFor(t, "https://graph.instagram.com", nil), true}, "and Threads": {threads, true}, "two apps": {two, false}, "a token": {bearer, false}} {
		if got := newProxy(t, c.o).current.Load().shortcut != nil; got != c.want {
			t.Errorf("%s: a shortcut is %v, want %v", name, got, c.want)
		}
	}
}
