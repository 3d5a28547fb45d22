package mock

import (
	"bytes"
	"crypto/sha256"
	"io"
	"net/http"
	"strconv"
	"testing"
	"testing/iotest"
)

func TestStreamSendsTheSameBytesEveryTime(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for _, n := range []int64{0, 1, 32 << 10, 5_000_001} {
		want, err := io.ReadAll(iotest.OneByteReader(Stream(n)))
		if err != nil || int64(len(want)) != n {
			t.Fatalf("Stream(%d): got %d bytes (error %v), want %[1]d", n, len(want), err)
		}
		size := strconv.FormatInt(n, 10)
		a := s.get(t, "/__stream?bytes="+size)
		if a.err != nil || a.status != 200 || sha256.Sum256([]byte(a.body)) != sha256.Sum256(want) || a.header.Get("Content-Length") != size {
			t.Errorf("bytes=%d: got status %d with %d bytes (error %v), want 200 with the bytes of Stream; Content-Length: got %q, want %q", n, a.status, len(a.body), a.err, a.header.Get("Content-Length"), size)
		}
		a = s.get(t, "/__stream?chunked=1&bytes="+size)
		if a.err != nil || !bytes.Equal([]byte(a.body), want) || a.header.Get("Content-Length") != "" && n > 0 {
			t.Errorf("bytes=%d, chunked: got status %d with %d bytes (error %v), want 200 with the bytes of Stream; Content-Length: got %q, want \"\"", n, a.status, len(a.body), a.err, a.header.Get("Content-Length"))
		}
	}
	if s.CallsTo("read") != 8 || len(s.Requests()) != 8 || len(s.Strange()) != 0 {
		t.Errorf("%d reads, want 8; %d requests, want 8; strange: %v, want none", s.CallsTo("read"), len(s.Requests()), s.Strange())
	}
	for _, size := range []string{"", "x", "-1", "99999999999999999999"} {
		wantCode(t, "bytes="+size, s.get(t, "/__stream?bytes="+size), 400, 100, 0)
	}
}

// The download is larger than all buffers on the way, so its first bytes arrive before the last are
// sent. It ends when the client disconnects.
func TestStreamFlowsUntilItsClientDisconnects(t *testing.T) {
	s := newStand(t, ServerOptions{})
	const size = 10 << 30
	r, err := http.NewRequest("GET", s.server.URL+"/v23.0/__stream?bytes="+strconv.Itoa(size), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	got, want := make([]byte, 1<<20), make([]byte, 1<<20)
	_, _ = io.ReadFull(Stream(size), want)
	if _, err := io.ReadFull(res.Body, got); err != nil || !bytes.Equal(got, want) || res.ContentLength != size {
		t.Errorf("%d bytes announced, want %d; the first MiB (error %v) equals that of Stream: %t, want true",
			res.ContentLength, size, err, bytes.Equal(got, want))
	}
	if n := s.currentCounters().stats().InFlight; n != 1 {
		t.Errorf("%d requests in flight, want 1", n)
	}
	res.Body.Close()
	eventually(t, "the download has ended", func() bool { return s.currentCounters().stats().InFlight == 0 })
}
