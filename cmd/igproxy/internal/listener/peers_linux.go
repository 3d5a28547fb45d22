package listener

import (
	"net"
	"syscall"
)

// peerUID returns the UID of the process that connected to a Unix socket: SO_PEERCRED, see unix(7).
func peerUID(c net.Conn) (uid uint32, err error) {
	unavailable := withDescriptor(c, func(fd int) {
		var credentials *syscall.Ucred
		if credentials, err = syscall.GetsockoptUcred(fd, syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			uid = credentials.Uid
		}
	})
	if unavailable != nil {
		err = unavailable
	}
	return uid, err
}
