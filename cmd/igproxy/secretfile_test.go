package main

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// Opening a named pipe waits for its writer: serve, check and healthcheck hung at upstream.ca_file: ./fifo.
func TestANamedPipeInPlaceOfAnAuthorityIsRefusedAndNotWaitedFor(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile("fifo", os.O_RDWR, 0) // lets a reader that does open it go on, and read nothing
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { _, err := readCertPool("fifo"); done <- err }() // ends when the pipe is closed, at the latest
	select {
	case err = <-done:
		_ = writer.Close()
	case <-time.After(10 * time.Second):
		_ = writer.Close()
		<-done
		t.Fatal("the pipe was opened, and waited for")
	}
	if err == nil || err.Error() != "fifo is not a regular file" {
		t.Errorf("got %v, want that it is not a regular file", err)
	}
}
