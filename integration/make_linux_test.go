package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/igproxy/igproxy/integration/harness"
)

// On Ctrl-C, a terminal sends SIGINT to its foreground process group. At a terminal, make run gives
// igproxy a process group of its own, which becomes the foreground group. So Ctrl-C interrupts
// igproxy, but not make.
func TestCtrlCEndsMakeRunWithoutAnError(t *testing.T) {
	t.Parallel()
	harness.Plain(t) // so that make finds compiled packages
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	must(t, err)
	defer terminal.Close()
	var number, unlocked int32
	ioctl(t, terminal, syscall.TIOCSPTLCK, &unlocked)
	ioctl(t, terminal, syscall.TIOCGPTN, &number)
	screen, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	cmd := exec.Command("make", "--no-print-directory", "-C", "..", "run")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = screen, screen, screen
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(t, cmd.Start())
	must(t, screen.Close())
	shown, read, exited := &harness.Output{}, make(chan struct{}), make(chan error, 1)
	go func() { // ends with the last process that uses the terminal
		defer close(read)
		for b := make([]byte, 4096); ; {
			n, err := terminal.Read(b)
			if err != nil {
				return
			}
			_, _ = shown.Write(b[:n])
		}
	}()
	go func() { exited <- cmd.Wait() }()
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); <-read }()
	for start := time.Now(); !strings.Contains(shown.String(), "Ctrl-C ends it."); time.Sleep(50 * time.Millisecond) {
		if time.Since(start) > 3*time.Minute { // make compiles igproxy and runs the demo
			t.Fatalf("the demo has not printed its last lines within 3 minutes:\n%s", shown)
		}
	}
	_, err = terminal.Write([]byte{3})
	must(t, err)
	select {
	case err := <-exited:
		if err != nil || strings.Contains(shown.String(), "***") {
			t.Errorf("make ended with %v, want no error and no \"***\" in the output:\n%s", err, shown)
		}
	case <-time.After(patience):
		t.Fatalf("make did not end within %s of Ctrl-C:\n%s", patience, shown)
	}
}

func ioctl(t *testing.T, f *os.File, request uintptr, value *int32) {
	t.Helper()
	if _, _, err := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(value))); err != 0 {
		t.Fatal(err)
	}
}
