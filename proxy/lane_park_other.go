//go:build !unix

package proxy

import "syscall"

const canPeek = false

func awaitReadable(syscall.RawConn) bool { return false }

func awaitEnd(syscall.RawConn) error { return syscall.EINVAL }
