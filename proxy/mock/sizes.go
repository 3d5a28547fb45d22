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
	bombMember    = 1 << 20
	bombMembers   = 256
	headerBytes   = 16 << 10
	headerCount   = 64
	chunkBytes    = 32 << 10
	stalledClient = 10 * time.Second // then an endless answer ends
)

// huge is a good answer with a very long unknown member.
func (x *exchange) huge() {
	x.reply(http.StatusOK, jsonType, x.success(`,"padding":"`+strings.Repeat("x", hugeBytes)+`"`))
}

// endless is a token that never ends. It never becomes a whole answer, not even at its bound.
func (x *exchange) endless() {
	x.head(http.StatusOK, jsonType)
	control := http.NewResponseController(x.w)
	chunk := []byte(`{"access_token":"IGAA` + strings.Repeat("A", chunkBytes))
	for range endlessBytes / chunkBytes {
		_ = control.SetWriteDeadline(time.Now().Add(stalledClient)) // where there is none, the client has to leave
		if _, err := x.w.Write(chunk); err != nil || x.gone() {
			break
		}
		chunk = chunk[len(chunk)-chunkBytes:]
	}
	x.abort()
}

// gone reports whether there is nobody left to answer.
func (x *exchange) gone() bool {
	select {
	case <-x.instagram.closed:
		return true
	default:
		return x.r.Context().Err() != nil
	}
}

// gzipBomb is a good answer behind very much white space: whoever reads it without a limit after inflating will believe it, later.
func (x *exchange) gzipBomb() {
	if !strings.Contains(strings.ToLower(x.r.Header.Get("Accept-Encoding")), "gzip") {
		x.succeed()
		return
	}
	space := compressed(strings.Repeat(" ", bombMember)) // members of a gzip stream may follow each other: RFC 1952, section 2.2
	x.w.Header().Set("Content-Encoding", "gzip")
	x.reply(http.StatusOK, jsonType, string(bytes.Repeat(space, bombMembers))+string(compressed(x.success(""))))
}

func compressed(s string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // into memory: cannot fail
	_ = z.Close()
	return b.Bytes()
}

func (x *exchange) hugeHeaders() {
	h := x.w.Header()
	for i := range headerCount {
		h.Set(fmt.Sprintf("X-Fb-Debug-%d", i), strings.Repeat("x", headerBytes))
	}
	x.succeed()
}
