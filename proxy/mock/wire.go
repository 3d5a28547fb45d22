package mock

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"time"
)

const (
	dripPause = time.Second
	slowBy    = 300 * time.Millisecond
)

// truncated announces more than it sends.
func (x *exchange) truncated() {
	text := x.success("")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	x.head(http.StatusOK, jsonType)
	_, _ = x.w.Write([]byte(text[:len(text)-20]))
	x.flush()
	x.abort()
}

func (x *exchange) flush() { _ = http.NewResponseController(x.w).Flush() }

func (x *exchange) hang() { x.until(nil) }

func (x *exchange) hangBody() {
	x.head(http.StatusOK, jsonType)
	x.flush()
	x.until(nil)
}

// drip is always alive, and no time-out between two bytes ends it.
func (x *exchange) drip() {
	text := x.success("")
	x.head(http.StatusOK, jsonType)
	for i := range len(text) {
		if _, err := io.WriteString(x.w, text[i:i+1]); err != nil {
			x.abort()
		}
		x.flush()
		if i < len(text)-1 {
			x.wait(dripPause)
		}
	}
}

func (x *exchange) slow() {
	x.wait(slowBy)
	x.succeed()
}

// reset makes the kernel send RST instead of FIN: with nothing to linger for, closing a TCP connection resets it.
func (x *exchange) reset() {
	conn := x.hijack()
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// hangUp closes without a word, not even TLS's.
func (x *exchange) hangUp() { _ = x.hijack().Close() }

func (x *exchange) garbageLine() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.abort()
	}
	_ = conn.SetWriteDeadline(time.Now().Add(stalledClient))
	_, _ = io.WriteString(conn, "SORRY, something went wrong\r\n\r\n")
	_ = conn.Close()
}

// hijack takes the connection itself, below TLS. HTTP/2 has none to give: there the stream is reset, and nothing is returned.
func (x *exchange) hijack() net.Conn {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.abort()
	}
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		return over.NetConn()
	}
	return conn
}

// flaky fails as a kept connection does that the other side has just closed.
func (x *exchange) flaky() {
	if x.book.first(x.hash) {
		x.hangUp()
		return
	}
	x.succeed()
}

func (x *exchange) flaky500() {
	if x.book.first(x.hash) {
		x.refuse(down)
		return
	}
	x.succeed()
}
