package listener

import (
	"encoding/binary"
	"io"
	"net/http"
	"time"
)

// http2Refusal is the text of the GOAWAY for HTTP/2 that was not negotiated.
const http2Refusal = "igproxy speaks HTTP/2 only if TLS negotiates it (ALPN); use HTTP/1.1 here"

// http2RefusalTime bounds how long a client may take to read the refusal.
const http2RefusalTime = time.Second

// refuseHTTP2 refuses a client that speaks HTTP/2 with prior knowledge (RFC 9113, section 3.3), and
// reports whether r is the beginning of that: net/http passes the client's preface on as a request.
// Such a client does not understand an answer in HTTP/1.1, so it gets one in HTTP/2.
func refuseHTTP2(w http.ResponseWriter, r *http.Request) bool {
	hijacker, ok := w.(http.Hijacker) // not on a connection that negotiated HTTP/2
	if !ok || r.Method != "PRI" || r.RequestURI != "*" || r.ProtoMajor != 2 {
		return false
	}
	c, _, err := hijacker.Hijack()
	if err != nil {
		return true
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(http2RefusalTime))
	if _, err := c.Write(http2RefusalFrames()); err != nil {
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

// http2RefusalFrames returns an empty SETTINGS frame, which must be the first, and a GOAWAY frame
// with HTTP_1_1_REQUIRED (RFC 9113, sections 6.5, 6.8 and 7).
func http2RefusalFrames() []byte {
	const settings, goAway, http11Required = 4, 7, 13
	frame := func(kind byte, payload []byte) []byte {
		header := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
		return append(append(header, 0, 0, 0, 0, 0), payload...) // no flags, stream 0
	}
	payload := binary.BigEndian.AppendUint32(make([]byte, 4), http11Required) // no stream was processed
	return append(frame(settings, nil), frame(goAway, append(payload, http2Refusal...))...)
}
