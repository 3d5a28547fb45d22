package main

import (
	"io"
	"net"
	"testing"
)

// receive must end if the server closes the connection inside a body.
func TestReceiveEndsWhenTheConnectionCloses(t *testing.T) {
	for response, want := range map[string]int{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}": 2,
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}": 0,
		"HTTP/1.1 200 OK\r\nContent-Le":                  0,
		"HTTP/1.1 502 Bad Gateway\r\n\r\n":               0,
		"HTTP/1.1 200 OK\r\n\r\n{}":                      0,
	} {
		server, client := net.Pipe()
		go func() {
			_, _ = io.WriteString(server, response)
			_ = server.Close()
		}()
		c := &conn{Conn: client}
		if got, err := c.receive(); got != want || (err == nil) != (want > 0) {
			t.Errorf("%q: got %d, %v; want %d, and an error if it is 0", response, got, err, want)
		}
		_ = client.Close()
	}
}
