package listener

import (
	"log/slog"
	"net"
	"slices"
	"strconv"
	"time"
)

// peers lets only some users' processes connect to a Unix socket. The system says whose a
// connection is; a user of another namespace that has no number in ours is 65534 there. The others'
// connections are closed unread.
type peers struct {
	net.Listener
	uids    []uint32
	refused func() // counts
	log     *slog.Logger
	told    time.Time // of the last line: Accept has one caller
}

func newPeers(l net.Listener, uids []string, refused func(), log *slog.Logger) net.Listener {
	if len(uids) == 0 {
		return l
	}
	p := &peers{Listener: l, refused: refused, log: log}
	for _, text := range uids {
		if uid, err := strconv.ParseUint(text, 10, 32); err == nil { // checkUID has let no other through
			p.uids = append(p.uids, uint32(uid))
		}
	}
	return p
}

// Accept returns the next connection that may be here.
func (p *peers) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && slices.Contains(p.uids, uid) {
			return c, nil
		}
		_ = c.Close()
		p.refuse(uid, err)
	}
}

// refuse counts every one and logs one a second, so that nobody fills the log by connecting.
func (p *peers) refuse(uid uint32, err error) {
	p.refused()
	if time.Since(p.told) < time.Second {
		return
	}
	p.told = time.Now()
	if err != nil {
		p.log.Warn("a connection was closed: the system does not say whose it is", "error", err.Error())
		return
	}
	p.log.Warn("a connection was closed: its user is not in auth.uids", "uid", uid)
}
