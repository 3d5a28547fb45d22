package mock

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// streamPath?bytes=N is a download of N bytes. Meta has no such path. Clients request it through
// igproxy like Meta's paths, but need no token. The response announces its length, except with
// chunked=1 in the query.
const streamPath = "/__stream"

var badSize = graphError{status: 400, Type: "OAuthException", Code: 100, Message: "(#100) Param bytes must be a number that is not negative"}

func (x *call) refuseStream() *graphError {
	if n, err := strconv.ParseInt(last(x.query, "bytes"), 10, 64); err != nil || n < 0 {
		return &badSize
	}
	return nil
}

func (x *call) stream() {
	n, _ := strconv.ParseInt(last(x.query, "bytes"), 10, 64) // refuseStream checked it
	if last(x.query, "chunked") != "1" {
		x.w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	}
	x.head(http.StatusOK, "video/mp4")
	control := http.NewResponseController(x.w)
	source, chunk := Stream(n), make([]byte, chunkBytes)
	for {
		read, err := source.Read(chunk)
		if err == io.EOF {
			return
		}
		// If no deadline can be set, a write waits until the client disconnects.
		_ = control.SetWriteDeadline(time.Now().Add(stalledClient))
		if _, err := x.w.Write(chunk[:read]); err != nil || x.gone() {
			x.abort()
		}
		x.flush()
	}
}

// Stream returns what GET /__stream?bytes=n sends. The bytes are the same in every download.
// They are a list of rising numbers, so that lost or repeated bytes are noticed.
func Stream(n int64) io.Reader { return io.LimitReader(&numbers{}, n) }

// numbers is a reader of all whole numbers from 0 up, one per line.
type numbers struct {
	next int64
	rest []byte
}

func (s *numbers) Read(p []byte) (int, error) {
	for len(s.rest) < len(p) {
		s.rest = append(strconv.AppendInt(s.rest, s.next, 10), '\n')
		s.next++
	}
	n := copy(p, s.rest)
	s.rest = append(s.rest[:0], s.rest[n:]...)
	return n, nil
}
