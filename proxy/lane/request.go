package lane

import (
	"bytes"
	"strings"
)

// request is a plain request. Token and host are parts of the buffer that it was read from.
type request struct {
	token, host []byte
	length      int // in bytes
}

// recognise reads a plain request at the start of b. It accepts fewer forms than the rest of
// igproxy does:
//
//   - GET /access_token in HTTP/1.1, in origin form, without an API version, a prefix or a trailing
//     slash in the path;
//   - grant_type=ig_exchange_token and access_token once each, client_secret at most once, in any
//     order, with no escapes and no other parameters;
//   - Host once; any other header must be one that changes nothing (see harmless).
func recognise(b []byte) (r request, s state) {
	const start = "GET " + Path + "?"
	if n := min(len(b), len(start)); string(b[:n]) != start[:n] {
		return r, other
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if bytes.Count(b, []byte("\n")) != bytes.Count(b, []byte("\r\n")) {
			return r, other // net/http accepts a bare line feed as the end of a line
		}
		return r, incomplete
	}
	r.length = end + len("\r\n\r\n")
	line, headers, _ := bytes.Cut(b[len(start):end+len("\r\n")], []byte("\r\n"))
	query, version, _ := bytes.Cut(line, []byte(" "))
	if r.token = plainToken(query); len(r.token) == 0 || string(version) != "HTTP/1.1" {
		return r, other
	}
	for len(headers) > 0 {
		line, headers, _ = bytes.Cut(headers, []byte("\r\n"))
		name, value, ok := plainHeader(line)
		switch {
		case !ok:
			return r, other
		case is(name, "host") && r.host == nil && len(value) > 0:
			r.host = value
		case !harmless(name, value):
			return r, other
		}
	}
	if r.host == nil {
		return r, other
	}
	return r, plain
}

// plainToken returns the token in a query, or nil if anything in the query is not plain. The value
// of client_secret is dropped, as in the decode step.
func plainToken(query []byte) (token []byte) {
	var grant, secret bool
	for more := true; more; {
		var parameter []byte
		parameter, query, more = bytes.Cut(query, []byte("&"))
		name, value, ok := bytes.Cut(parameter, []byte("="))
		switch {
		case !ok:
			return nil
		case string(name) == "access_token" && token == nil && isUnreserved(value):
			token = value
		case string(name) == "grant_type" && !grant && string(value) == GrantType:
			grant = true
		case string(name) == "client_secret" && !secret && isUnreserved(value):
			secret = true
		default:
			return nil
		}
	}
	if !grant {
		return nil
	}
	return token
}

// isUnreserved reports whether b consists of unreserved characters (RFC 3986, section 2.3).
func isUnreserved(b []byte) bool {
	for _, c := range b {
		if lower := c | 0x20; !('a' <= lower && lower <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~') {
			return false
		}
	}
	return true
}

// plainHeader reads a header: a name, a colon, and a value of visible ASCII characters and spaces.
// It accepts neither folded lines nor tabs.
func plainHeader(line []byte) (name, value []byte, ok bool) {
	name, value, ok = bytes.Cut(line, []byte(":"))
	ok = ok && len(name) > 0 && isUnreserved(name)
	for _, c := range value {
		ok = ok && ' ' <= c && c <= '~'
	}
	return name, bytes.Trim(value, " "), ok
}

// harmless reports whether a header changes nothing: no step reads it, and net/http acts the same
// without it. Only tracing reads traceparent, and the Handler declines every request if requests
// are traced.
func harmless(name, value []byte) bool {
	return is(name, "accept") || is(name, "user-agent") || is(name, "accept-encoding") || is(name, "accept-language") ||
		is(name, "connection") && is(value, "keep-alive") || is(name, "content-type") || is(name, "x-request-id") ||
		is(name, "traceparent") || is(name, "tracestate") || is(name, "sec-fetch-mode") // sent by Node's fetch
}

// is reports whether b equals lower, ignoring the case of ASCII letters.
func is(b []byte, lower string) bool {
	return len(b) == len(lower) && strings.EqualFold(string(b), lower)
}
