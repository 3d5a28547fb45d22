package cache

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fakeRedis starts a server on loopback that speaks RESP2, for replies that a real server cannot be
// made to send. The server replies to each command with the result of replyTo. If the result is "",
// the server closes the connection; if it is hangUp, the server resets the connection. After a
// reply that does not end with CR LF, the server closes the connection, too.
func fakeRedis(t testing.TB, replyTo func(command []string) string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var mu sync.Mutex // protects conns
	var conns []net.Conn
	all.Go(func() { // ends when the listener is closed
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			all.Go(func() { defer c.Close(); converse(c, replyTo) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		all.Wait()
	})
	return l.Addr().String()
}

const (
	unknownCommand = "-ERR unknown command\r\n"
	hangUp         = "hang up"
)

// always returns a function for fakeRedis that refuses HELLO, so that the client speaks RESP2, and
// returns the same reply to every other command.
func always(reply string) func([]string) string {
	return func(command []string) string {
		if strings.EqualFold(command[0], "HELLO") {
			return unknownCommand
		}
		return reply
	}
}

func converse(c net.Conn, replyTo func([]string) string) {
	in := bufio.NewReader(c)
	for {
		command, err := readCommand(in)
		if err != nil {
			return
		}
		reply := replyTo(command)
		switch reply {
		case hangUp:
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		case "":
			return
		}
		if _, err := io.WriteString(c, reply); err != nil || !strings.HasSuffix(reply, "\r\n") { // an incomplete reply
			return
		}
	}
}

func readCommand(in *bufio.Reader) ([]string, error) {
	number := func(mark byte) (int, error) {
		line, err := in.ReadString('\n')
		if err != nil {
			return 0, err
		}
		if line[0] != mark {
			return 0, fmt.Errorf("%q does not begin with %c", line, mark)
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number('*')
	if err != nil || n < 1 {
		return nil, fmt.Errorf("a command of %d words: %w", n, err)
	}
	command := make([]string, n)
	for i := range command {
		length, err := number('$')
		if err != nil {
			return nil, err
		}
		word := make([]byte, length+2)
		if _, err := io.ReadFull(in, word); err != nil {
			return nil, err
		}
		command[i] = string(word[:length])
	}
	return command, nil
}
