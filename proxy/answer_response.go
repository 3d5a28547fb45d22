package proxy

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// response is an HTTP response that igproxy builds itself. Meta's responses to passed-through
// calls are streamed instead. A response is built once, and is written through net/http or, in the
// lane, as bytes.
type response struct {
	status      int
	id          requestID
	cacheStatus []byte      // the value of Cache-Status (RFC 9211); empty: no such header
	retryAfter  int         // in seconds; zero: no such header
	challenge   bool        // true if igproxy's own token is missing or wrong; adds WWW-Authenticate
	last        bool        // the connection is closed after the response
	usage       http.Header // Meta's headers about rate limits; empty: no such headers

	// The parts of the body. digits is the value of expires_in, or empty if the body has no such
	// member.
	head, digits, tail []byte
}

// bodyLength returns the length of the body in bytes.
func (r *response) bodyLength() int { return len(r.head) + len(r.digits) + len(r.tail) }

// Header values, shared so that a hit allocates less. Nothing modifies them.
var (
	headerNoStore = []string{"no-store"}
	headerJSON    = []string{"application/json; charset=UTF-8"}
	headerNoSniff = []string{"nosniff"}
)

// writeTo writes the response with net/http.
func (r *response) writeTo(w http.ResponseWriter) {
	h := w.Header()
	h["Cache-Control"], h["X-Content-Type-Options"] = headerNoStore, headerNoSniff
	maps.Copy(h, r.usage)
	values := make([]string, 0, 6) // one allocation for all values
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("X-Request-Id", r.id.String())
	if r.status != http.StatusNoContent { // 204 must not have a Content-Length: RFC 9110, section 8.6
		h["Content-Type"] = headerJSON
		set("Content-Length", strconv.Itoa(r.bodyLength()))
	}
	if len(r.cacheStatus) > 0 {
		set("Cache-Status", string(r.cacheStatus))
	}
	if r.retryAfter > 0 {
		set("Retry-After", strconv.Itoa(r.retryAfter))
	}
	if r.challenge {
		set("Www-Authenticate", challenge)
	}
	if r.last {
		set("Connection", "close")
	}
	w.WriteHeader(r.status)
	for _, part := range [...][]byte{r.head, r.digits, r.tail} {
		_, _ = w.Write(part)
	}
}

// appendTo appends the response to b as net/http would write it in HTTP/1.1. FuzzLane checks that
// the bytes are the same. appendTo supports neither a challenge nor a 204; the lane sends neither.
func (r *response) appendTo(b, date []byte) []byte {
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(r.status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(r.status)...)
	b = append(b, "\r\nCache-Control: no-store\r\n"...)
	if len(r.cacheStatus) > 0 {
		b = append(b, "Cache-Status: "...)
		b = append(b, r.cacheStatus...)
		b = append(b, "\r\n"...)
	}
	if r.last {
		b = append(b, "Connection: close\r\n"...)
	}
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, int64(r.bodyLength()), 10)
	b = append(b, "\r\nContent-Type: application/json; charset=UTF-8\r\n"...)
	if r.retryAfter > 0 {
		b = append(b, "Retry-After: "...)
		b = strconv.AppendInt(b, int64(r.retryAfter), 10)
		b = append(b, "\r\n"...)
	}
	b = appendUsage(b, r.usage) // in the order of net/http: after Retry-After, before X-Content-Type-Options
	b = append(b, "X-Content-Type-Options: nosniff\r\nX-Request-Id: "...)
	b = append(b, r.id[:]...)
	b = append(b, "\r\nDate: "...)
	b = append(b, date...)
	b = append(b, "\r\n\r\n"...)
	b = append(b, r.head...)
	b = append(b, r.digits...)
	return append(b, r.tail...)
}

// appendUsage appends header lines, sorted by name.
func appendUsage(b []byte, usage http.Header) []byte {
	if len(usage) == 0 {
		return b
	}
	for _, name := range slices.Sorted(maps.Keys(usage)) {
		for _, value := range usage[name] {
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
		}
	}
	return b
}

// dates keeps the value of the Date header until the second changes. The zero value is ready to
// use.
type dates struct{ current atomic.Pointer[formatted] }

type formatted struct {
	second int64 // Unix time
	text   []byte
}

// at returns the value of the Date header at the time now. The caller must not modify it.
func (d *dates) at(now time.Time) []byte {
	f := d.current.Load()
	if f == nil || f.second != now.Unix() {
		f = &formatted{now.Unix(), now.UTC().AppendFormat(nil, http.TimeFormat)}
		d.current.Store(f)
	}
	return f.text
}
