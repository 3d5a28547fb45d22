package listener

import (
	"io"
	"net/http"
	"time"
)

// http2Refusal is the text of the GOAWAY for HTTP/2 that was not negotiated. It must have fewer
// than 120 bytes, because the length n of the frame's payload is written as string(rune(n)): this
// is one byte only for n up to 127. The payload is the text and 8 more bytes.
const http2Refusal = "igproxy speaks HTTP/2 only if TLS negotiates it (ALPN); use HTTP/1.1 here"

// http2RefusalFrames are an empty SETTINGS frame, which must be the first, and a GOAWAY frame with
// HTTP_1_1_REQUIRED (RFC 9113, sections 6.5, 6.8 and 7).
const http2RefusalFrames = "\x00\x00\x00\x04\x00\x00\x00\x00\x00" +
	"\x00\x00" + string(rune(8+len(http2Refusal))) + "\x07\x00\x00\x00\x00\x00" + // length, type, flags, stream
	"\x00\x00\x00\x00" + "\x00\x00\x00\x0d" + http2Refusal // the last stream that was processed, the code, the text

// http2RefusalTime bounds how long a client may take to read the refusal.
const http2RefusalTime = time.Second

// refuseHTTP2 refuses a client that speaks HTTP/2 with prior knowledge (RFC 9113, section 3.3), and
// reports whether it did. net/http passes the preface of such a client on as a request. The client
// does not understand a response in HTTP/1.1, so the refusal is in HTTP/2.
func refuseHTTP2(w http.ResponseWriter, r *http.Request) bool {
	hijacker, ok := w.(http.Hijacker) // false on a connection that negotiated HTTP/2
	if !ok || r.Method != "PRI" || r.RequestURI != "*" || r.ProtoMajor != 2 {
		return false
	}
	c, _, err := hijacker.Hijack()
	if err != nil {
		return true
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(http2RefusalTime))
	if _, err := io.WriteString(c, http2RefusalFrames); err != nil {
		return true
	}
	// If the connection were closed before the client's own frames are read, the system would reset
	// it, and the client could lose the refusal.
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_, _ = io.CopyN(io.Discard, c, 64<<10)
	return true
}
