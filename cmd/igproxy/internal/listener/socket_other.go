//go:build !unix

package listener

import (
	"io/fs"
	"net"
)

func withMode(_ fs.FileMode, bind func()) { bind() }

func unread(net.Conn) bool { return false }
