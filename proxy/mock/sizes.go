package mock

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const (
	hugeBytes     = 8 << 20
	endlessBytes  = 64 << 20
	bombMember    = 1 << 20  // bytes of spaces in each gzip member, before compression
	bombMembers   = 256      // the number of gzip members that contain only spaces
	headerBytes   = 16 << 10 // of each header
	headerCount   = 64
	chunkBytes    = 32 << 10
	stalledClient = 10 * time.Second // how long a write may wait for the client
)

// huge sends a good response with a very long unknown member.
func (x *call) huge() {
	x.respond(http.StatusOK, jsonType, x.success(`,"padding":"`+strings.Repeat("x", hugeBytes)+`"`))
}

// endless sends a token that does not end. After endlessBytes it breaks off the response, so the
// body is never complete.
func (x *call) endless() {
	x.head(http.StatusOK, jsonType)
	control := http.NewResponseController(x.w)
	chunk := []byte(`{"access_token":"IGAA` + strings.Repeat("A", chunkBytes))
	for range endlessBytes / chunkBytes {
		// If no deadline can be set, a write waits until the client disconnects.
		_ = control.SetWriteDeadline(time.Now().Add(stalledClient))
		if _, err := x.w.Write(chunk); err != nil || x.gone() {
			break
		}
		chunk = chunk[len(chunk)-chunkBytes:]
	}
	x.abort()
}

// gone reports whether the client has disconnected or the stand-in is closed.
func (x *call) gone() bool {
	select {
	case <-x.instagram.closed:
		return true
	default:
		return x.r.Context().Err() != nil
	}
}

// gzipBomb sends a good response after a very long run of spaces. A client without a limit on
// inflated bytes inflates all the spaces before it finds the token. A client that does not accept
// gzip gets the good response without the spaces.
func (x *call) gzipBomb() {
	if !strings.Contains(strings.ToLower(x.r.Header.Get("Accept-Encoding")), "gzip") {
		x.succeed()
		return
	}
	// A gzip stream may consist of several members: RFC 1952, section 2.2.
	space := compressed(strings.Repeat(" ", bombMember))
	x.w.Header().Set("Content-Encoding", "gzip")
	x.respond(http.StatusOK, jsonType, string(bytes.Repeat(space, bombMembers))+string(compressed(x.success(""))))
}

func compressed(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // writes to memory
	_ = z.Close()
	return b.Bytes()
}

func (x *call) hugeHeaders() {
	h := x.w.Header()
	for i := range headerCount {
		h.Set(fmt.Sprintf("X-Fb-Debug-%d", i), strings.Repeat("x", headerBytes))
	}
	x.succeed()
}
