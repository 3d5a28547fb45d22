package passthrough

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
)

// maxRefusal bounds the size of a refusal that OnRefused and IsInvalid get, in bytes, before and
// after decompression. Meta's refusals have a few hundred bytes.
const maxRefusal = 64 << 10

// isRefusal reports whether a response may be a refusal that igproxy can read.
func isRefusal(res *http.Response) bool {
	return (res.StatusCode == http.StatusBadRequest || res.StatusCode == http.StatusUnauthorized) && res.ContentLength <= maxRefusal
}

// watch calls OnRefused with the body of a refusal after the whole body has been read. It neither
// holds the body back nor changes it.
func (s *sending) watch(res *http.Response) {
	if s.call.OnRefused == nil || !isRefusal(res) {
		return
	}
	encoding := res.Header.Get("Content-Encoding")
	res.Body = &watchedBody{ReadCloser: res.Body, whole: func(body []byte) {
		if body, ok := inflate(encoding, body); ok {
			s.call.OnRefused(s.token, res.StatusCode, body)
		}
	}}
}

// watchedBody is a body that is copied while it is read.
type watchedBody struct {
	io.ReadCloser
	copied []byte
	whole  func([]byte) // called once, with the whole body; nil: it was called, or the body is too long
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch {
	case b.whole == nil:
		return n, err
	case len(b.copied)+n > maxRefusal:
		b.copied, b.whole = nil, nil
		return n, err
	}
	b.copied = append(b.copied, p[:n]...)
	if err == io.EOF {
		b.whole(b.copied)
		b.whole = nil
	}
	return n, err
}

// inflate undoes the Content-Encoding of a body. It reports false if the encoding is not gzip or
// identity, or if the body is invalid or too long.
func inflate(encoding string, body []byte) ([]byte, bool) {
	switch strings.ToLower(encoding) {
	case "", "identity":
		return body, true
	case "gzip", "x-gzip":
	default:
		return nil, false
	}
	z, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, false
	}
	body, err = io.ReadAll(io.LimitReader(z, maxRefusal+1))
	return body, err == nil && len(body) <= maxRefusal
}
