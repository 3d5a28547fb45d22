package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

const floorName = "floor"

// floor starts a server in C with one epoll loop. The loop reads, finds the end of the header, and
// writes the bytes that the sidecar sends for a hit. A server can hardly do less.
func (b *bench) floor(sidecar *server) (*server, error) {
	hit, err := rawHit(sidecar)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(b.path("hit.http"), hit, 0o644); err != nil {
		return nil, err
	}
	cc, err := find("cc")
	if err != nil {
		return nil, err
	}
	source := filepath.Join(b.root, "tools/peers/floor/floor.c")
	if out, err := exec.CommandContext(b.ctx, cc, "-O2", "-o", b.path(floorName), source).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s %s: %w\n%s", cc, source, err, out)
	}
	addr, err := free()
	if err != nil {
		return nil, err
	}
	host, port, _ := net.SplitHostPort(addr)
	return b.start(floorName, serverCore, "http://"+addr, "http://"+addr+healthPath, nil, b.path(floorName), host, port, b.path("hit.http"))
}

// rawHit returns the whole response to the second request for the same token.
func rawHit(s *server) ([]byte, error) {
	c, err := dial(s.url)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	length := 0
	for range 2 {
		if err := c.send(0); err != nil {
			return nil, err
		}
		if length, err = c.receive(); err != nil {
			return nil, err
		}
	}
	head := bytes.Index(c.buf[:], []byte("\r\n\r\n")) + len("\r\n\r\n")
	hit := c.buf[:head+length]
	if !bytes.Contains(hit, []byte("; hit;")) {
		return nil, errors.New(s.name + ": the second response for the same token is not a hit")
	}
	return hit, nil
}
