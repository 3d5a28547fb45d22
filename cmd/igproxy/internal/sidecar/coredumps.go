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
//   - on Linux, a core filter that excludes all memory, because the limit does not apply if core
//     dumps are piped to a program (core_pattern with |, see core(5)). That program then gets
//     registers and a list of mappings, but no memory.
//
// PR_SET_DUMPABLE 0 would do both, but it also makes root the owner of /proc/PID. Then an operator
// who runs as igproxy's own user could not see limits or descriptors, and profilers and debuggers
// could not attach. A process that may ptrace igproxy can read its memory anyway, see SECURITY.md.
func NoCoreDumps() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("RLIMIT_CORE: %w", err)
	}
	if runtime.GOOS != "linux" {
		return nil
	}
	return os.WriteFile("/proc/self/coredump_filter", []byte("0"), 0)
}
