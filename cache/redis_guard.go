package cache

// maxReply bounds what one reply makes the library allocate. The largest value that igproxy stores is half
// of it.
const maxReply = 32 << 20

// element is what the library allocates for a member of an array or a map, at the most.
const element = 64

// guard reads along what Redis sends (RESP2 and RESP3) and refuses a reply that announces more than
// maxReply: the library allocates what is announced, before it comes, and Go ends a process that asks for
// too much. Bodies are skipped, so it looks at the few bytes of each header only.
type guard struct {
	kind    byte  // of the header that is being read; zero: the next byte begins one
	length  int64 // what it has announced so far
	body    int64 // bytes of a string that are still to come, with their end of line
	members int64 // of arrays and maps, still to come
	total   int64 // what this reply has announced
}

func (g *guard) follow(b []byte) {
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

// refuses reports whether a reply was too large. It stays so.
func (g *guard) refuses() bool { return g.total > maxReply }

func (g *guard) begin(kind byte) {
	g.kind, g.length = kind, 0
	if g.members--; g.members < 0 { // it is a reply, not a member of one
		g.members, g.total = 0, 0
	}
}

// end takes what a header announces.
func (g *guard) end() {
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
