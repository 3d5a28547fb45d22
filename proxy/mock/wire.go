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

// truncated sends less than it announces.
func (x *call) truncated() {
	text := x.success("")
	x.w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	x.head(http.StatusOK, jsonType)
	_, _ = x.w.Write([]byte(text[:len(text)-20]))
	x.flush()
	x.abort()
}

func (x *call) flush() { _ = http.NewResponseController(x.w).Flush() }

func (x *call) hang() { x.until(nil) }

func (x *call) hangBody() {
	x.head(http.StatusOK, jsonType)
	x.flush()
	x.until(nil)
}

// drip sends one byte per second. A client that limits only the time of each read never gives up.
func (x *call) drip() {
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

func (x *call) slow() {
	x.wait(slowBy)
	x.succeed()
}

// reset closes the connection without lingering, so that the kernel sends RST instead of FIN.
func (x *call) reset() {
	conn := x.hijack()
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// hangUp closes the connection without a response, and without TLS's close_notify alert.
func (x *call) hangUp() { _ = x.hijack().Close() }

func (x *call) garbageLine() {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.abort()
	}
	_ = conn.SetWriteDeadline(time.Now().Add(stalledClient))
	_, _ = io.WriteString(conn, "SORRY, something went wrong\r\n\r\n")
	_ = conn.Close()
}

// hijack takes over the connection below TLS. An HTTP/2 connection cannot be hijacked. In that
// case, hijack resets the stream and does not return.
func (x *call) hijack() net.Conn {
	conn, _, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.abort()
	}
	if over, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		return over.NetConn()
	}
	return conn
}

// flaky closes the connection on the first call with a token, like a server that closes an idle
// connection just when the client reuses it.
func (x *call) flaky() {
	if x.counters.first(x.hash) {
		x.hangUp()
		return
	}
	x.succeed()
}

func (x *call) flaky500() {
	if x.counters.first(x.hash) {
		x.refuse(down)
		return
	}
	x.succeed()
}
