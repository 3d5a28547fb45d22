package mock

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// streamPath is no path of Instagram's, but asked for through igproxy as one: a download of any size, ?bytes=N. It needs no token, and
// announces its length unless ?chunked=1.
const streamPath = "/__stream"

var badSize = graphError{status: 400, Type: "OAuthException", Code: 100, Message: "(#100) Param bytes must be a number from 0 on"}

func (x *exchange) refuseStream() *graphError {
	if n, err := strconv.ParseInt(last(x.query, "bytes"), 10, 64); err != nil || n < 0 {
		return &badSize
	}
	return nil
}

func (x *exchange) stream() {
	n, _ := strconv.ParseInt(last(x.query, "bytes"), 10, 64) // refuseStream has seen it
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
		_ = control.SetWriteDeadline(time.Now().Add(stalledClient)) // where there is none, the client has to leave
		if _, err := x.w.Write(chunk[:read]); err != nil || x.gone() {
			x.abort()
		}
		x.flush()
	}
}

// Stream is what GET /__stream?bytes=n sends: the same bytes at every call, each block of them another.
func Stream(n int64) io.Reader { return io.LimitReader(&numbers{}, n) }

// numbers are all numbers from 0 on, a line each.
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
