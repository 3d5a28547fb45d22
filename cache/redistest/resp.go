package redistest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Do sends one command and returns its reply: a string, an int64, a []any or nil. An error reply
// fails the test.
func (s *Server) Do(args ...string) any {
	s.t.Helper()
	c, err := s.dial()
	if err != nil {
		s.t.Fatalf("dialling redis-server: %v", err)
	}
	defer c.close()
	reply, err := c.do(args...)
	if err != nil {
		s.t.Fatalf("redis %s: %v", args[0], err)
	}
	return reply
}

// Hold keeps a connection open until the end of the test.
func (s *Server) Hold(t testing.TB) {
	t.Helper()
	c, err := s.dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
}

// Answer serves one connection. Every command gets the text in reply and a line break, except
// HELLO, SELECT and CLIENT, which get replies that let clients connect. If the text is empty,
// Answer closes the connection instead. Answer returns when the connection has ended.
func Answer(c net.Conn, reply string) {
	AnswerEach(c, func(command string) string {
		switch command {
		case "HELLO":
			return "-ERR unknown command 'HELLO'"
		case "SELECT", "CLIENT":
			return "+OK"
		}
		return reply
	})
}

// AnswerEach serves one connection. For each command, it calls reply with the command's name in
// upper case, and sends the result and a line break. If reply returns an empty string, AnswerEach
// closes the connection. AnswerEach returns when the connection has ended.
func AnswerEach(c net.Conn, reply func(command string) string) {
	defer c.Close()
	in := &conn{c, bufio.NewReader(c)}
	for {
		command, err := in.read()
		list, _ := command.([]any)
		if err != nil || len(list) == 0 {
			return
		}
		text := reply(strings.ToUpper(fmt.Sprint(list[0])))
		if text == "" {
			return
		}
		if _, err := io.WriteString(c, text+"\r\n"); err != nil {
			return
		}
	}
}

// Keys returns all keys, sorted.
func (s *Server) Keys() []string {
	s.t.Helper()
	list, _ := s.Do("KEYS", "*").([]any)
	keys := make([]string, 0, len(list))
	for _, k := range list {
		keys = append(keys, fmt.Sprint(k))
	}
	slices.Sort(keys)
	return keys
}

// Dump returns every key whose value is a string, with the value.
func (s *Server) Dump() map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, k := range s.Keys() {
		if s.Do("TYPE", k) != "string" {
			continue
		}
		if v, ok := s.Do("GET", k).(string); ok {
			all[k] = v
		}
	}
	return all
}

// TTL returns the remaining life of a key, or a negative duration if the key has no TTL or does not
// exist.
func (s *Server) TTL(key string) time.Duration {
	s.t.Helper()
	ms, _ := s.Do("PTTL", key).(int64)
	return time.Duration(ms) * time.Millisecond
}

// Set overwrites a value and keeps its TTL.
func (s *Server) Set(key, value string) {
	s.t.Helper()
	s.Do("SET", key, value, "KEEPTTL")
}

// Shuffle gives every key the value of the next key, as if Redis returned other users' entries.
func (s *Server) Shuffle() {
	s.t.Helper()
	keys, values := s.Keys(), s.Dump()
	for i, k := range keys {
		s.Set(k, values[keys[(i+1)%len(keys)]])
	}
}

// conn implements just enough of RESP2:
// https://redis.io/docs/latest/develop/reference/protocol-spec/.
type conn struct {
	net net.Conn
	in  *bufio.Reader
}

func (s *Server) dial() (*conn, error) {
	raw, err := net.DialTimeout("tcp", s.Addr(), time.Second)
	if err != nil {
		return nil, err
	}
	if s.options.TLS {
		own, err := tls.LoadX509KeyPair(s.file("cert.pem"), s.file("key.pem"))
		if err != nil {
			return nil, err
		}
		raw = tls.Client(raw, &tls.Config{RootCAs: s.ca, ServerName: "127.0.0.1", Certificates: []tls.Certificate{own}})
	}
	_ = raw.SetDeadline(time.Now().Add(patience))
	c := &conn{raw, bufio.NewReader(raw)}
	if s.options.Password != "" {
		if _, err := c.do("AUTH", s.options.Password); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

func (c *conn) close() { _ = c.net.Close() }

func (c *conn) do(args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(c.net, b.String()); err != nil {
		return nil, err
	}
	return c.read()
}

func (c *conn) read() (any, error) {
	line, err := c.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, text := line[0], strings.TrimRight(line[1:], "\r\n")
	switch kind {
	case '+':
		return text, nil
	case '-':
		return nil, errors.New(text)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	switch {
	case kind == ':':
		return int64(n), nil
	case n < 0:
		return nil, nil
	case kind == '$':
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.in, b)
		return string(b[:n]), err
	}
	list := make([]any, n)
	for i := range list {
		if list[i], err = c.read(); err != nil {
			return nil, err
		}
	}
	return list, nil
}
