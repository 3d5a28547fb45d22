package sidecar

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// NoCoreDumps keeps the secret and the tokens off the disk when the process dies, whatever
// GOTRACEBACK says. Two things are needed:
//
//   - a hard RLIMIT_CORE of 0, so that no core file is written;
//   - on Linux, a core filter without any kind of memory, because the limit does not apply where
//     core dumps are piped to a program (core_pattern with |, see core(5)): that program then gets
//     registers and a list of mappings, and no memory.
//
// PR_SET_DUMPABLE 0 would do both, but it also gives /proc/PID to root, so that an operator who is
// the same user could see neither limits nor descriptors, and profilers and debuggers could not
// attach. A process that may ptrace this one can read its memory anyway; SECURITY.md says so.
func NoCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("RLIMIT_CORE: %w", err)
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	return os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
}
