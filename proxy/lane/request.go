package lane

import (
	"bytes"
	"strings"
)

// plain is a request in the form that the lane recognises.
type plain struct {
	token, host []byte
	length      int // in bytes
}

// readPlain reads a request in the one form that the lane recognises; not ok if it has another form
// or is incomplete. Where it differs from decode and gate, it is stricter:
//
//   - GET /access_token in HTTP/1.1, in origin form, without version, prefix or a slash at the end;
//   - grant_type=ig_exchange_token and access_token once each, client_secret at most once, in any
//     order, without escapes and other parameters;
//   - Host once, and otherwise only headers that nothing in igproxy reads.
func readPlain(b []byte) (r plain, ok bool) {
	rest, ok := bytes.CutPrefix(b, []byte("GET "+Path+"?"))
	if !ok {
		return r, false
	}
	if r.token, rest, ok = plainQuery(rest); !ok {
		return r, false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte("HTTP/1.1\r\n")); !ok {
		return r, false
	}
	var name, value []byte
	for !bytes.HasPrefix(rest, []byte("\r\n")) {
		if name, value, rest, ok = plainHeader(rest); !ok {
			return r, false
		}
		switch {
		case is(name, "host"):
			if r.host != nil || len(value) == 0 {
				return r, false
			}
			r.host = value
		case !harmless(name, value):
			return r, false
		}
	}
	r.length = len(b) - len(rest) + 2
	return r, r.host != nil
}

// plainQuery reads the query and the space after it.
func plainQuery(b []byte) (token, rest []byte, ok bool) {
	var grant, secret bool
	for {
		if after, ok := bytes.CutPrefix(b, []byte("grant_type="+GrantType)); ok && !grant {
			grant, b = true, after
		} else if after, ok := bytes.CutPrefix(b, []byte("access_token=")); ok && token == nil {
			token, b = unescaped(after)
		} else if after, ok := bytes.CutPrefix(b, []byte("client_secret=")); ok && !secret {
			secret = true
			_, b = unescaped(after) // dropped, as in decode
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

// unescaped splits off the characters that need no escape in a query: RFC 3986, section 2.3.
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
	if !ok {
		return nil, nil, nil, false
	}
	name, value, ok = bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, nil, false
	}
	for _, c := range name {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-') {
			return nil, nil, nil, false
		}
	}
	for _, c := range value {
		if c < ' ' || c > '~' {
			return nil, nil, nil, false
		}
	}
	return name, bytes.Trim(value, " "), rest, true
}

// harmless reports whether a header changes nothing: no step reads it, and net/http acts as without
// it.
func harmless(name, value []byte) bool {
	return is(name, "user-agent") || is(name, "accept") || is(name, "accept-encoding") || is(name, "accept-language") ||
		is(name, "connection") && is(value, "keep-alive") || is(name, "sec-fetch-mode") // of Node's fetch
}

// isWhole reports whether b is exactly one whole request without a body: a GET in HTTP/1.1 whose
// header says nothing about what follows. Whether it is valid is for net/http to decide.
func isWhole(b []byte) bool {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || !bytes.HasPrefix(line, []byte("GET /")) || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) ||
		bytes.ContainsAny(line, "\r\n\x00") {
		return false
	}
	var name, value []byte
	for !bytes.HasPrefix(rest, []byte("\r\n")) {
		if name, value, rest, ok = plainHeader(rest); !ok || framing(name, value) {
			return false
		}
	}
	return len(rest) == len("\r\n")
}

// framing reports whether a header says that more belongs to the request, or that HTTP ends after
// it.
func framing(name, value []byte) bool {
	return is(name, "content-length") || is(name, "transfer-encoding") || is(name, "trailer") || is(name, "upgrade") ||
		is(name, "expect") || is(name, "connection") && !is(value, "keep-alive")
}

// is reports whether b equals lower, ignoring the case of ASCII letters.
func is(b []byte, lower string) bool {
	return len(b) == len(lower) && strings.EqualFold(string(b), lower)
}
