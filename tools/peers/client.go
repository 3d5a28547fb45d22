package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a persistent connection that implements just enough of HTTP. It must cost little CPU,
// because it shares a core with everything except the servers that are compared.
type conn struct {
	net.Conn
	host string
	buf  [4 << 10]byte
}

func dial(url string) (*conn, error) {
	host := strings.TrimPrefix(url, "http://")
	c, err := net.DialTimeout("tcp", host, patience)
	return &conn{Conn: c, host: host}, err
}

func (c *conn) send(n int) error {
	_, err := io.WriteString(c.Conn, "GET "+target(n)+" HTTP/1.1\r\nHost: "+c.host+"\r\n\r\n")
	return err
}

// receive reads one response, which must be 200, and returns the length of its body.
func (c *conn) receive() (int, error) {
	_ = c.SetReadDeadline(time.Now().Add(patience))
	have := 0
	for {
		n, err := c.Read(c.buf[have:])
		have += n
		length, done, wrong := bodyOf(c.buf[:have])
		switch {
		case wrong != nil || done:
			return length, wrong
		case err != nil:
			return 0, fmt.Errorf("incomplete response: %q, %w", c.buf[:min(have, 80)], err)
		case have == len(c.buf):
			return 0, errors.New("the response is longer than 4 KiB")
		}
	}
}

// bodyOf returns the length of a response's body, and whether the body is complete. It fails if the
// status is not 200 or the header has no Content-Length.
func bodyOf(response []byte) (length int, complete bool, err error) {
	head, body, found := bytes.Cut(response, []byte("\r\n\r\n"))
	if !found {
		return 0, false, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, false, fmt.Errorf("got %q, want HTTP/1.1 200", head[:min(len(head), 80)])
	}
	length, err = contentLength(head)
	return length, len(body) >= length, err
}

func contentLength(head []byte) (int, error) {
	_, rest, found := bytes.Cut(head, []byte("\r\nContent-Length: "))
	if !found {
		return 0, fmt.Errorf("no Content-Length in %q", head)
	}
	value, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return strconv.Atoi(string(value))
}

// warm sends one request for each of the tokens [from, to) and returns the length of the last body.
func warm(s *server, from, to int) (length int, err error) {
	const callers = 64
	var next, last atomic.Int64
	next.Store(int64(from))
	failures := make([]error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			c, err := dial(s.url)
			if err != nil {
				failures[i] = err
				return
			}
			defer c.Close()
			for n := int(next.Add(1)) - 1; n < to && failures[i] == nil; n = int(next.Add(1)) - 1 {
				failures[i] = c.send(n)
				if failures[i] == nil {
					length, err := c.receive()
					failures[i] = err
					last.Store(int64(length))
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(failures...); err != nil {
		return 0, fmt.Errorf("warming %s: %w", s.name, err)
	}
	return int(last.Load()), nil
}

// hold opens connections and sends one request on each, so that the server keeps them as idle
// connections. release closes them.
func hold(s *server, connections int) (release func(), err error) {
	var all []*conn
	release = func() {
		for _, c := range all {
			_ = c.Close()
		}
	}
	for i := range connections {
		c, err := dial(s.url)
		if err == nil {
			all = append(all, c)
			if err = c.send(0); err == nil {
				_, err = c.receive()
			}
		}
		if err != nil {
			release()
			return nil, fmt.Errorf("connection %d to %s: %w", i+1, s.name, err)
		}
	}
	return release, nil
}

// quick is a client for control requests. It accepts every certificate, because all servers belong
// to this run and are on loopback.
var quick = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
	Proxy: nil, DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

func answers(url string) bool {
	_, err := page(url)
	return err == nil
}

func page(url string) (string, error) { return ask(http.MethodGet, url) }

func ask(method, url string) (string, error) {
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return "", err
	}
	res, err := quick.Do(r)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", url, res.Status)
	}
	return string(text), err
}
