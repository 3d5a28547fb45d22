package cache

// maxReply bounds the bytes that one reply makes the library allocate. The largest value that
// igproxy stores is about half of it (upstream.max_response_bytes is at most 16 MiB).
const maxReply = 32 << 20

// element is an upper bound of the bytes that the library allocates for a member of an array or a
// map.
const element = 64

// replyBound parses the headers of what Redis sends (RESP2 and RESP3) and refuses a reply that
// announces more than maxReply. The library allocates what a header announces before the body
// comes, and an allocation that the machine cannot serve ends the process. Bodies are skipped, so
// only headers cost time.
type replyBound struct {
	kind    byte  // of the header that is being read; zero: the next byte begins a header
	length  int64 // the number in it, as far as it has been read
	body    int64 // bytes of a string that are still to come, with their CR and LF
	members int64 // of arrays and maps that are still to come
	total   int64 // bytes that this reply has announced
}

// follow takes the next bytes, in the order they came.
func (g *replyBound) follow(b []byte) {
	for len(b) > 0 && !g.refuses() {
		if g.body > 0 {
			n := min(g.body, int64(len(b)))
			g.body -= n
			b = b[n:]
			continue
		}
		switch c := b[0]; {
		case g.kind == 0:
			g.begin(c)
		case c == '\n':
			g.end()
		case c == '-': // a length of -1 stands for no value
			g.kind = '+'
		case c >= '0' && c <= '9':
			g.length = min(10*g.length+int64(c-'0'), maxReply+1)
		}
		b = b[1:]
	}
}

// refuses reports whether a reply was too large. The connection is then of no use.
func (g *replyBound) refuses() bool { return g.total > maxReply }

func (g *replyBound) begin(kind byte) {
	g.kind, g.length = kind, 0
	if g.members--; g.members < 0 { // a new reply, not a member of one
		g.members, g.total = 0, 0
	}
}

// end takes what a header announces.
func (g *replyBound) end() {
	switch g.kind {
	case '$', '=', '!':
		g.body = g.length + 2
		g.total += g.length
	case '%', '|':
		g.members += 2 * g.length
		g.total += 2 * g.length * element
	case '*', '~', '>':
		g.members += g.length
		g.total += g.length * element
	}
	g.kind = 0
}
