package config

import (
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// pipeTimeout is how long readPipe waits for the writer to write and close a pipe.
const pipeTimeout = 5 * time.Second

// pipes has the contents of the pipes that were read, by path. A pipe can be read only once, but a
// reload reads every secret again.
var pipes = struct {
	mu       sync.Mutex // protects contents
	contents map[string][]byte
}{contents: map[string][]byte{}}

// isPipe reports whether a path leads to a pipe, such as the one that a shell creates for
// <(command).
func isPipe(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeNamedPipe != 0
}

// readPipe reads a pipe of at most max bytes, or returns what an earlier call read. Its error is a
// *fileError.
func readPipe(path string, max int64) ([]byte, error) {
	pipes.mu.Lock()
	defer pipes.mu.Unlock()
	if content, known := pipes.contents[path]; known {
		return content, nil
	}
	// Without O_NONBLOCK, opening a named pipe would wait for its writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the operator names the path
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	_ = f.SetReadDeadline(time.Now().Add(pipeTimeout))
	content, err := readAtMost(f, path, max)
	if err == nil && len(content) == 0 {
		err = &fileError{path, fault{"is a pipe that nothing writes to", "first start the program that writes the secret, or use a file"}}
	}
	if err == nil {
		pipes.contents[path] = content
	}
	return content, err
}

// watchable returns the paths to watch for changes: all except pipes, which can be read only once.
func watchable(paths []string) []string {
	return slices.DeleteFunc(slices.Clone(paths), isPipe)
}
