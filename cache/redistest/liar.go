package redistest

import (
	"bufio"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// The ways in which a Liar corrupts replies.
const (
	Truth    = ""         // no reply is corrupted
	Shift    = "shift"    // from the first lie on, each reply belongs to the previous command
	Flip     = "flip"     // one bit of the payload is flipped
	Truncate = "truncate" // the connection ends in the middle of a reply
	Replay   = "replay"   // an earlier reply, to another command, is sent instead
	Swap     = "swap"     // the reply that the last swap withheld is sent instead; it may be from another connection
)

// Lies lists all kinds of lies.
var Lies = []string{Shift, Flip, Truncate, Replay, Swap}

// Liar is a proxy that corrupts the replies of the server behind it.
type Liar struct {
	net     net.Listener
	target  string
	lie     atomic.Pointer[string]
	oneIn   atomic.Int64 // see SetLie
	lies    atomic.Int64 // see LieCount
	running sync.WaitGroup

	mu   sync.Mutex // protects the fields below
	open map[net.Conn]bool
	old  [][]byte // earlier replies
	owed []byte   // the reply that the last swap withheld; the next swap sends it
}

// StartLiar starts a Liar that changes nothing until SetLie is called. It stops at the end of the
// test.
func StartLiar(t testing.TB, s *Server) *Liar {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	liar := &Liar{net: l, target: s.Addr(), open: map[net.Conn]bool{}}
	liar.SetLie(Truth, 1)
	liar.running.Go(liar.accept)
	t.Cleanup(func() {
		_ = l.Close()
		liar.mu.Lock()
		for c := range liar.open {
			_ = c.Close()
		}
		liar.open = nil
		liar.mu.Unlock()
		liar.running.Wait()
	})
	return liar
}

// URL returns the URL for clients.
func (l *Liar) URL() string { return "redis://" + l.net.Addr().String() + "/0" }

// SetLie sets the kind of lie, and makes about one of every oneIn replies a lie.
func (l *Liar) SetLie(lie string, oneIn int) {
	l.oneIn.Store(int64(oneIn))
	l.lie.Store(&lie)
}

// LieCount returns how many replies have been selected for a lie. The Liar sent a few of them
// unchanged: the first reply for a swap, replies too short for a flip, and replies for which it had
// no earlier reply.
func (l *Liar) LieCount() int { return int(l.lies.Load()) }

func (l *Liar) accept() {
	for {
		client, err := l.net.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", l.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !l.keep(client, server) {
			return
		}
		l.running.Go(func() { _, _ = io.Copy(server, client); _ = server.Close() })
		l.running.Go(func() { l.talk(client, server); _ = client.Close(); _ = server.Close() })
	}
}

func (l *Liar) keep(conns ...net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		if l.open == nil {
			_ = c.Close()
			continue
		}
		l.open[c] = true
	}
	return l.open != nil
}

// talk forwards replies one by one and corrupts some of them.
func (l *Liar) talk(client io.Writer, server io.Reader) {
	in := bufio.NewReader(server)
	var held []byte // the reply that a shifted connection sends next
	for {
		reply, err := readRaw(in)
		if err != nil {
			return
		}
		lie := *l.lie.Load()
		if lie != Truth && rand.Int64N(l.oneIn.Load()) == 0 {
			l.lies.Add(1)
			cut := false
			if reply, cut = l.corrupt(lie, reply, &held); cut {
				_, _ = client.Write(reply)
				return
			}
		} else if held != nil {
			reply, held = held, reply
		}
		l.remember(reply)
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

func (l *Liar) corrupt(lie string, reply []byte, held *[]byte) (corrupted []byte, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case lie == Shift && *held == nil && len(l.old) > 0:
		*held = reply
		return l.old[rand.IntN(len(l.old))], false
	case lie == Shift && *held != nil:
		reply, *held = *held, reply
	case lie == Flip && len(reply) > 40: // a reply that is longer than this ends with a value
		reply = slices.Clone(reply)
		reply[len(reply)-3-rand.IntN(30)] ^= 1 << rand.IntN(8)
	case lie == Truncate:
		return reply[:rand.IntN(len(reply))], true
	case lie == Replay && len(l.old) > 0:
		return l.old[rand.IntN(len(l.old))], false
	case lie == Swap:
		if l.owed == nil {
			l.owed = reply
			return reply, false
		}
		reply, l.owed = l.owed, reply
	}
	return reply, false
}

// remember keeps up to 1000 replies for Replay and Shift.
func (l *Liar) remember(reply []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.old) < 1000 {
		l.old = append(l.old, reply)
		return
	}
	l.old[rand.IntN(len(l.old))] = reply
}

// readRaw reads one RESP2 or RESP3 reply and returns its bytes.
func readRaw(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadBytes('\n')
	if err != nil || len(line) < 3 {
		return line, err
	}
	n, err := strconv.Atoi(string(line[1 : len(line)-2]))
	switch line[0] {
	case '$', '=', '!':
		if err == nil && n >= 0 {
			body := make([]byte, n+2)
			_, err = io.ReadFull(in, body)
			return append(line, body...), err
		}
	case '%', '|':
		n *= 2
		fallthrough
	case '*', '~', '>':
		for ; err == nil && n > 0; n-- {
			var item []byte
			item, err = readRaw(in)
			line = append(line, item...)
		}
		return line, err
	}
	return line, nil
}
