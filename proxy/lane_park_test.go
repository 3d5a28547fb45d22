package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A real socket, because a pipe cannot be peeked into.
func TestAQuietConnectionIsParkedAndComesBack(t *testing.T) {
	p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
	lane := p.NewLane(LaneOptions{IdleTimeout: time.Hour, WriteTimeout: laneWrite})
	lane.patience = 10 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed, fresh := make(chan struct{}, 100), make(chan struct{}, 100)
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute, ConnState: func(c net.Conn, state http.ConnState) {
		c.(*LaneConn).State(state)
		switch state {
		case http.StateNew:
			fresh <- struct{}{}
		case http.StateClosed:
			closed <- struct{}{}
		}
	}}
	var served sync.WaitGroup
	served.Go(func() { _ = s.Serve(over{l, lane}) })
	served.Go(func() { _ = s.Serve(lane) })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(c)
	for range 3 {
		for range 3 {
			if res, body := roundTrip(t, c, r, hitRequest); res.StatusCode != 200 || !strings.Contains(body, "IGAA-long") {
				t.Fatalf("got %d %s", res.StatusCode, body)
			}
		}
		<-fresh
		<-closed // for net/http it has ended
	}
	_ = c.Close()
	_ = s.Close()
	served.Wait()
}

// over puts the lane on what a listener accepts.
type over struct {
	net.Listener
	lane *Lane
}

func (l over) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.lane.Conn(c), nil
}

// What a drain, and the bound on connections, see of it.
func TestARequestOnAParkedConnectionEndsItsIdleness(t *testing.T) {
	p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
	lane := p.NewLane(LaneOptions{IdleTimeout: time.Hour})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	told := make(chan time.Time, 1)
	c := lane.Conn(&idleConn{server, told})
	c.last = time.Now()
	c.state.Store(leaving)
	_ = c.Close() // as net/http does: it is parked
	_, _ = io.WriteString(client, hitRequest)
	if since := <-told; !since.IsZero() {
		t.Errorf("it is idle since %v", since)
	}
	if back, err := lane.Accept(); err != nil || back != net.Conn(c) {
		t.Errorf("got %v, %v back", back, err)
	}
	_ = c.Close()
}

type idleConn struct {
	net.Conn
	told chan time.Time
}

func (c *idleConn) NetConn() net.Conn    { return c.Conn }
func (c *idleConn) Idle(since time.Time) { c.told <- since }

// net/http waits for the first four bytes of a request as long as it lets a connection be idle; the lane's own patience is shorter.
func TestThreeBytesOfARequestHaveTheIdleTime(t *testing.T) {
	p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
	lane := p.NewLane(LaneOptions{IdleTimeout: time.Hour})
	inner := &scripted{read: "GET"}
	c := lane.Conn(inner)
	c.socket = noSocket{}
	c.State(http.StateIdle)
	if n, err := c.Read(make([]byte, 4096)); n != 3 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	if want := c.last.Add(time.Hour); !inner.deadline.Equal(want) {
		t.Errorf("the deadline is %v, want %v", inner.deadline, want)
	}
}

// scripted gives some bytes, and remembers the read deadline.
type scripted struct {
	net.Conn
	read     string
	deadline time.Time
}

func (c *scripted) Read(b []byte) (int, error)          { return copy(b, c.read), nil }
func (c *scripted) SetReadDeadline(end time.Time) error { c.deadline = end; return nil }

type noSocket struct{ syscall.RawConn }

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

// After it is parked, the goroutine that served a connection before still tells its end.
func TestWhoServedAParkedConnectionSaysNothingOfItsNextLife(t *testing.T) {
	p := laneProxy(t, optionsFor(t, "https://graph.instagram.com", nil))
	c := p.NewLane(LaneOptions{}).Conn(nowhere{})
	c.State(http.StateNew)
	var both sync.WaitGroup
	both.Go(func() { c.State(http.StateClosed) })
	both.Go(func() { c.give([]byte(hitRequest)) })
	both.Wait()
	if !c.square {
		t.Error("it is not the lane's any more")
	}
}
