//go:build !linux

package listener

import (
	"errors"
	"net"
)

func peerUID(net.Conn) (uint32, error) { return 0, errors.ErrUnsupported }
