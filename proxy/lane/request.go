package lane

import "bytes"

// plain is a request in the lane's form.
type plain struct {
	token, host []byte
	length      int // in bytes, header and all
}

// readPlain reads a request in the one form that the lane knows; not ok: it is anything else, or not all of it is there. It is stricter
// than decode and the gate wherever it differs:
//
//   - GET /access_token in HTTP/1.1, in origin form, without version, prefix or slash behind;
//   - grant_type=ig_exchange_token and access_token once each, client_secret at most once, in any order and nothing else, without escapes;
//   - Host once, and besides it only headers that nothing here looks at.
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

// plainQuery reads the query and the blank behind it.
func plainQuery(b []byte) (token, rest []byte, ok bool) {
	var grant, secret bool
	for {
		if after, ok := bytes.CutPrefix(b, []byte("grant_type="+GrantType)); ok && !grant {
			grant, b = true, after
		} else if after, ok := bytes.CutPrefix(b, []byte("access_token=")); ok && token == nil {
			token, b = unescaped(after)
		} else if after, ok := bytes.CutPrefix(b, []byte("client_secret=")); ok && !secret {
			secret = true
			_, b = unescaped(after) // dropped, as decode does
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

// unescaped splits off the characters that mean themselves in a query: RFC 3986, section 2.3.
func unescaped(b []byte) (text, rest []byte) {
	for i, c := range b {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~') {
			return b[:i:i], b[i:]
		}
	}
	return b, nil
}

// plainHeader reads one line of a header: a name, a colon, a value of visible characters and blanks, and CR LF; nothing folded, nothing
// but a blank in front of the value or behind it.
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

// harmless reports whether a header changes nothing: no step looks at it, and net/http does only as it does without it.
func harmless(name, value []byte) bool {
	switch len(name) {
	case len("accept"):
		return is(name, "accept")
	case len("user-agent"): // and "connection"
		return is(name, "user-agent") || is(name, "connection") && is(value, "keep-alive")
	case len("accept-encoding"): // and "accept-language"
		return is(name, "accept-encoding") || is(name, "accept-language")
	}
	return is(name, "sec-fetch-mode") // Node's fetch
}

// whole reports whether b is one whole request that has no body for anybody, and nothing more: a GET in HTTP/1.1 whose header says
// nothing about what follows. Whether it is a good one is for net/http to say.
func whole(b []byte) bool {
	line, rest, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok || !bytes.HasPrefix(line, []byte("GET /")) || !bytes.HasSuffix(line, []byte(" HTTP/1.1")) || bytes.ContainsAny(line, "\r\n\x00") {
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

// framing reports whether a header says that more belongs to the request, or that HTTP ends behind it.
func framing(name, value []byte) bool {
	switch len(name) {
	case len("upgrade"): // and "trailer"
		return is(name, "upgrade") || is(name, "trailer")
	case len("expect"):
		return is(name, "expect")
	case len("connection"):
		return is(name, "connection") && !is(value, "keep-alive")
	case len("content-length"):
		return is(name, "content-length")
	case len("transfer-encoding"):
		return is(name, "transfer-encoding")
	}
	return false
}

// is compares without regard to the case of ASCII letters; small is in small ones.
func is(b []byte, small string) bool {
	if len(b) != len(small) {
		return false
	}
	for i := range b {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != small[i] {
			return false
		}
	}
	return true
}
