package listener

import (
	"errors"
	"log/slog"
	"net"
	"slices"
	"strconv"
)

// peers accepts connections on a Unix socket only from the processes of some users, and closes all
// others unread. The kernel reports the UID. A user who has no UID in igproxy's user namespace
// appears as UID 65534.
type peers struct {
	net.Listener
	uids    []string // in decimal
	refused func()   // counts a refused connection
	log     *slog.Logger
}

// Accept returns the next connection from one of the users.
func (p *peers) Accept() (net.Conn, error) {
	for {
		c, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && slices.Contains(p.uids, strconv.FormatUint(uint64(uid), 10)) {
			return c, nil
		}
		_ = c.Close()
		p.refused()
		if err != nil {
			p.log.Warn("connection of an unknown uid refused", "error", err)
			continue
		}
		p.log.Warn("connection refused by auth.uids", "uid", uid)
	}
}

// socketPeer returns the UID of the process at the other end of an accepted connection. It fails
// for anything but a Unix socket, and on systems other than Linux.
func socketPeer(c net.Conn) (uint32, error) {
	if c.LocalAddr().Network() != "unix" { // Linux reports 4294967295 for TCP
		return 0, errors.ErrUnsupported
	}
	return peerUID(under(c).Conn)
}
