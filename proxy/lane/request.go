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

// recognise reads a plain request at the start of b. It accepts less than the rest of igproxy does:
//
//   - GET /access_token in HTTP/1.1, in origin form, without an API version, a prefix or a trailing
//     slash in the path;
//   - grant_type=ig_exchange_token and access_token once each, client_secret at most once, in any
//     order, with no escapes and no other parameters;
//   - Host once, and otherwise only headers that change nothing.
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
	token, version, ok := plainQuery(line)
	if !ok || string(version) != "HTTP/1.1" {
		return r, other
	}
	r.token = token
	for len(headers) > 0 {
		var name, value []byte
		if name, value, headers, ok = plainHeader(headers); !ok {
			return r, other
		}
		switch {
		case is(name, "host"):
			if r.host != nil || len(value) == 0 {
				return r, other
			}
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

// plainQuery reads the query and the space after it. It returns the token and the rest.
func plainQuery(b []byte) (token, rest []byte, ok bool) {
	var grant, secret bool
	for {
		if after, ok := bytes.CutPrefix(b, []byte("grant_type="+GrantType)); ok && !grant {
			grant, b = true, after
		} else if after, ok := bytes.CutPrefix(b, []byte("access_token=")); ok && token == nil {
			token, b = unescaped(after)
		} else if after, ok := bytes.CutPrefix(b, []byte("client_secret=")); ok && !secret {
			secret = true
			_, b = unescaped(after) // dropped, as in the decode step
		} else {
			return nil, nil, false
		}
		if len(b) == 0 {
			return nil, nil, false
		}
		switch b[0] {
		case '&':
			b = b[1:]
		case ' ':
			return token, b[1:], grant && len(token) > 0
		default:
			return nil, nil, false
		}
	}
}

// unescaped splits b at the first character that is not unreserved (RFC 3986, section 2.3).
func unescaped(b []byte) (text, rest []byte) {
	for i, c := range b {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~') {
			return b[:i:i], b[i:]
		}
	}
	return b, nil
}

// plainHeader reads one header line: a name, a colon, a value of visible characters and spaces, and
// CR LF. It accepts neither folded lines nor tabs around the value.
func plainHeader(b []byte) (name, value, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	name, value, colon := bytes.Cut(line, []byte(":"))
	ok = ok && colon && len(name) > 0
	for _, c := range name {
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-')
	}
	for _, c := range value {
		ok = ok && ' ' <= c && c <= '~'
	}
	return name, bytes.Trim(value, " "), rest, ok
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
