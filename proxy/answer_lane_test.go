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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
	"github.com/igproxy/igproxy/proxy/lane"
)

// laneServer serves a Proxy as cmd/igproxy does, with or without the lane. The connections are in
// memory.
type laneServer struct {
	*http.Server
	lane   *lane.Lane // nil: net/http serves everything
	pipes  *pipes
	behind atomic.Int64 // the number of requests that net/http has got
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
	s := &laneServer{pipes: &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}}
	counted := func(w http.ResponseWriter, r *http.Request) {
		s.behind.Add(1)
		p.ServeHTTP(w, r)
	}
	s.Server = &http.Server{Handler: http.HandlerFunc(counted), IdleTimeout: idle, WriteTimeout: laneWrite, ReadHeaderTimeout: laneHeader,
		ReadTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), DisableGeneralOptionsHandler: true}
	var listener net.Listener = s.pipes
	var serving sync.WaitGroup
	if on {
		s.lane = p.NewLane(lane.Options{HeaderTimeout: laneHeader, IdleTimeout: idle, WriteTimeout: laneWrite, Logger: slog.New(slog.DiscardHandler)})
		listener = s.lane.Fallback()
		serving.Go(func() { _ = s.lane.Serve(s.pipes) })
	}
	serving.Go(func() { _ = s.Serve(listener) })
	t.Cleanup(func() {
		_ = s.pipes.Close()
		if on {
			_ = s.lane.Shutdown(context.Background())
		}
		_ = s.Close()
		serving.Wait()
	})
	return s
}

// pipes is a listener whose connections are in memory.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.dialed:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipes) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (s *laneServer) dial(t testing.TB) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	s.pipes.dialed <- theirs
	t.Cleanup(func() { _ = ours.Close() })
	return ours
}

// laneClient returns a connection to a server with the lane, and a reader for the answers.
func laneClient(t testing.TB) (net.Conn, *bufio.Reader) {
	t.Helper()
	c := newLaneServer(t, laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil)), true).dial(t)
	return c, bufio.NewReader(c)
}

const (
	warmToken   = "IGAA-warm"
	laneHost    = "Host: 127.0.0.1:8080\r\n"
	hitRequest  = "GET /access_token?grant_type=ig_exchange_token&access_token=" + warmToken + " HTTP/1.1\r\n" + laneHost + "\r\n"
	coldRequest = "GET /access_token?grant_type=ig_exchange_token&access_token=IGAA-cold HTTP/1.1\r\n" + laneHost + "\r\n"
)

// laneProxy returns a Proxy that has the answer for warmToken in memory. The steps after recall are
// replaced by a function that does not call Instagram.
func laneProxy(t testing.TB, o Options) *Proxy {
	t.Helper()
	p := newProxy(t, o)
	e := *p.current.Load()
	e.first = &recallStep{cache: p.carried.cache, next: exchangeFunc(func(_ context.Context, c call) (answer, error) {
		switch c.token.Reveal() {
		case "IGAA-new":
			a := tokenAnswer(t, "IGAA-other", time.Hour)
			a.source, a.stored, a.usage = sourceUpstream, true, http.Header{"X-App-Usage": {`{"call_count":2}`}}
			return a, nil
		case "IGAA-panic":
			panic("in a step")
		case "IGAA-expired":
			return answer{source: sourceUpstream, refusal: &graph.Error{Status: 400, Code: 190, Class: graph.ClassToken, Type: "OAuthException", Message: "expired"}}, nil
		}
		return answer{}, errOverloaded()
	})}
	p.current.Store(&e)
	a := tokenAnswer(t, "IGAA-long", 60*24*time.Hour)
	p.carried.cache.Keep(e.plain.keys.Derive(warmToken), cache.Entry{Value: encodeAnswer(a), Expires: time.Now().Add(time.Hour)})
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

func TestTheLaneAnswersHitsAndMissesUntilItHandsTheConnectionOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLaneServer(t, laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil)), true)
		c := s.dial(t)
		r := bufio.NewReader(c)
		for i, one := range []struct {
			request string
			status  int
			behind  int64 // how many requests net/http has got so far
		}{
			{hitRequest, 200, 0}, {hitRequest, 200, 0}, {coldRequest, 503, 0}, {hitRequest, 200, 0},
			{strings.ReplaceAll(hitRequest, "\r\n\r\n", "\r\nX-Own: 1\r\n\r\n"), 200, 1}, {hitRequest, 200, 2}, {coldRequest, 503, 3},
		} {
			res, body := roundTrip(t, c, r, one.request)
			if got := s.behind.Load(); res.StatusCode != one.status || got != one.behind {
				t.Errorf("request %d: got %d %s, want %d; net/http has got %d requests so far, want %d", i, res.StatusCode, body, one.status, got, one.behind)
			}
		}
	})
}

func TestPipelinedHitsAreAnsweredInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		go func() {
			_, _ = io.WriteString(c, strings.Repeat(hitRequest, 3)+coldRequest+hitRequest+coldRequest[:50])
		}()
		for i, want := range []int{200, 200, 200, 503, 200} {
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != want {
				t.Fatalf("answer %d: got the response %v and the error %v, want status %d", i, res, err, want)
			}
			_, _ = io.Copy(io.Discard, res.Body)
		}
	})
}

func TestAnIdleConnectionInTheLaneTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		for range 5 { // each request restarts the timeout
			roundTrip(t, c, r, hitRequest)
			time.Sleep(laneIdle - 2*time.Second)
		}
		roundTrip(t, c, r, hitRequest)
		start := time.Now()
		if _, err := r.ReadByte(); err != io.EOF {
			t.Fatalf("reading from the idle connection: got %v, want EOF", err)
		}
		if took := time.Since(start); took < laneIdle-time.Second || took > laneIdle {
			t.Errorf("the connection ended after %s, want %s, or up to a second less", took, laneIdle)
		}
	})
}

func TestIdleTimeBeginsAfterAnAnswerIsWritten(t *testing.T) {
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
		if took := time.Since(start); took < laneHeader || took > laneHeader+time.Second {
			t.Errorf("the connection ended after %s, want %s, or up to a second more", took, laneHeader)
		}
	})
}

func TestAClientThatDoesNotReadIsDisconnectedInTheLaneToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := laneClient(t)
		roundTrip(t, c, r, hitRequest)
		time.Sleep(laneWrite + time.Second) // the write deadline of the first answer has passed
		roundTrip(t, c, r, hitRequest)
		_, _ = io.WriteString(c, hitRequest)
		start := time.Now()
		time.Sleep(laneWrite + time.Second)
		if _, err := io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > laneWrite+time.Second {
			t.Errorf("the connection ended after %s, want at most %s", took, laneWrite+time.Second)
		}
	})
}

// net.Pipe has no buffer. So when the drain begins, the lane is still writing the answer, which the
// client has not read yet.
func TestDrainDoesNotCutLaneAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newLaneServer(t, laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil)), true)
		c := s.dial(t)
		r := bufio.NewReader(c)
		_, _ = io.WriteString(c, hitRequest)
		synctest.Wait()
		_ = s.pipes.Close()
		done := make(chan error, 1)
		go func() { done <- s.lane.Shutdown(t.Context()) }()
		time.Sleep(time.Second)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(body), "IGAA-long") {
			t.Errorf("got %s and the error %v, want the whole answer with IGAA-long and no error", body, err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("after the last answer: got %v, want EOF", err)
		}
	})
}

func TestARequestDuringADrainIsTheLastOfItsConnection(t *testing.T) {
	for _, request := range []string{hitRequest, coldRequest} {
		synctest.Test(t, func(t *testing.T) {
			p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
			s := newLaneServer(t, p, true)
			c := s.dial(t)
			r := bufio.NewReader(c)
			roundTrip(t, c, r, hitRequest)
			p.Stop()
			_ = s.pipes.Close()
			done := make(chan error, 1)
			go func() { done <- s.lane.Shutdown(t.Context()) }()
			time.Sleep(100 * time.Millisecond) // the drain is waiting for the connection
			if res, body := roundTrip(t, c, r, request); !res.Close {
				t.Errorf("%q: got %s; Connection: close is %v, want true", request, body, res.Close)
			}
			if _, err := r.ReadByte(); err != io.EOF {
				t.Errorf("after the last answer: got %v, want EOF", err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// The lane answers nothing if requests must carry igproxy's own token, or if there are several
// Instagram apps. In these cases only decode can tell what to do with a request.
func TestTheLaneAnswersNothingWithTwoInstagramAppsOrARequiredToken(t *testing.T) {
	two := optionsFor(t, "https://graph.instagram.com", nil)
	two.Apps = []App{{Label: "a", ID: "1", Secret: NewSecret(testSecret)}, {Label: "b", ID: "2", Secret: NewSecret(testSecret)}}
	bearer := optionsFor(t, "https://graph.instagram.com", nil)
	bearer.Bearers = trusting(sha256.Sum256([]byte(ownToken))).digests
	threads := optionsFor(t, "https://graph.instagram.com", nil)
	threads.Apps = append(threads.Apps, App{Label: "threads", Service: Threads, ID: "3", Secret: NewSecret(testSecret)})
	for name, c := range map[string]struct {
		o    Options
		want bool
	}{"an Instagram app": {optionsFor(t, "https://graph.instagram.com", nil), true}, "an Instagram app and a Threads app": {threads, true}, "two Instagram apps": {two, false}, "igproxy's own token is required": {bearer, false}} {
		if got := newProxy(t, c.o).current.Load().plain != nil; got != c.want {
			t.Errorf("%s: the lane may answer requests: %v, want %v", name, got, c.want)
		}
	}
}
