package cache

import "errors"

// These are the bounds of one reply. Every reply that igproxy asks for, except the reply to CLUSTER
// SLOTS, is within them. A stored value has little more than maxStored bytes, the purges of an app
// are at most maxRead members, and replies to HELLO and from sentinels are smaller. For the reply
// to CLUSTER SLOTS, slotsCost and maxRanges replace two of the bounds.
const (
	// maxReply bounds the size of a whole reply: its bytes, header lines included, plus memberCost
	// (or slotsCost) for each member of an array. It is enough for a reply to CLUSTER SLOTS with
	// about 2,500 ranges of slots and three nodes for each range.
	maxReply = 1 << 20

	// maxLine bounds a line in bytes. Statuses and errors have at most a few hundred bytes.
	maxLine = 64 << 10

	// memberCost is how many bytes are added to the size of a reply for each member of an array.
	// The library needs several times as much memory for a member as the member has bytes, and many
	// replies are read at the same time. slotsCost replaces memberCost for CLUSTER SLOTS, whose
	// reply has more members.
	memberCost = 256
	slotsCost  = 8

	// maxOutermost bounds the number of members of the outermost array.
	maxOutermost = maxRead

	// maxRanges replaces maxOutermost for CLUSTER SLOTS, whose reply has a member for each range of
	// slots. A cluster that grew shard by shard has a range for nearly every pair of shards, so
	// maxOutermost would be too small for fifty shards. A cluster has 16,384 slots, so it cannot
	// have more ranges.
	maxRanges = 16384

	// maxMembers bounds the number of members of every other array. A range of slots, for example,
	// has two numbers and its nodes.
	maxMembers = 64

	// maxDepth bounds how deep arrays are nested. CLUSTER SLOTS and HELLO need four levels.
	maxDepth = 4
)

// askSlots is the command CLUSTER SLOTS, as the library writes it.
var askSlots = []byte("*2\r\n$7\r\ncluster\r\n$5\r\nslots\r\n")

// errOversize is the error for every reply that replyBound refuses.
var errOversize = errors.New("redis: a reply that is too large")

// replyBound follows the replies on one connection, and refuses a reply that announces more than
// the bounds allow. The library allocates what a header announces before the body arrives, and an
// allocation that the machine cannot serve ends the process.
//
// Connections speak RESP2. The aggregates and strings of RESP3 are refused, because a server sends
// them only to clients that asked for RESP3. In all other replies, a length comes before what it
// counts. The bytes of strings are skipped, so that only lines cost time.
type replyBound struct {
	slots   bool            // the reply is to CLUSTER SLOTS
	kind    byte            // the first byte of the line that is being read
	inLine  bool            // a line is being read; false: the next byte begins a line or belongs to a string, see body
	length  int64           // the number in the line, as far as it has been read
	digits  int             // how many digits of the number have been read
	null    bool            // the number begins with a minus sign
	last    byte            // in a header, the byte before the current one
	body    int64           // bytes of a string that are still to come, with its CR and LF
	inBytes int64           // bytes of the current line that have been read
	total   int64           // size so far, as maxReply defines it; a string that is arriving counts in full
	depth   int             // how many arrays, one inside the other, are being read
	members [maxDepth]int64 // for each of these arrays, the outermost first: its members that have not ended yet
	refused bool
}

// admit takes the next bytes, in the order of their arrival. Once it has refused a reply, it always
// returns errOversize.
func (g *replyBound) admit(b []byte) error {
	for len(b) > 0 && !g.refused {
		if g.body > 0 {
			n := min(g.body, int64(len(b)))
			b = b[n:]
			if g.body -= n; g.body == 0 {
				g.ended()
			}
			continue
		}
		switch c := b[0]; {
		case !g.inLine:
			g.begin(c)
		case c == '\n':
			g.line()
		default:
			g.within(c)
		}
		g.total++
		g.inBytes++
		g.refused = g.refused || g.total > maxReply || g.inBytes > maxLine
		b = b[1:]
	}
	if g.refused {
		return errOversize
	}
	return nil
}

func (g *replyBound) begin(kind byte) {
	if g.depth == 0 { // a new reply, not a member of an array
		g.total = 0
	}
	g.kind, g.inLine, g.inBytes, g.length, g.digits, g.null, g.last = kind, true, 0, 0, 0, false, kind
	switch kind {
	case '%', '~', '>', '|', '=', '!', '\n': // RESP3, and an empty line
		g.refused = true
	}
}

// within takes a byte that is neither the first byte of a line nor its LF. The library parses a
// number in a header with strconv.Atoi. Everything but digits and -1 is refused, whether or not
// Atoi accepts it.
func (g *replyBound) within(c byte) {
	if g.kind != '$' && g.kind != '*' {
		return
	}
	switch {
	case g.last == '\r':
		g.refused = true
	case c >= '0' && c <= '9':
		g.length = 10*g.length + int64(c-'0')
		g.digits++
		g.refused = g.length > maxReply || g.digits > 10 || g.null && (g.digits > 1 || g.length != 1)
	case c == '-' && g.digits == 0 && !g.null: // -1 stands for no value
		g.null = true
	case c == '\r' && g.digits > 0:
	default: // such as $? for a string of unknown length
		g.refused = true
	}
	g.last = c
}

// line takes the LF at the end of a line, which is a header or a whole value.
func (g *replyBound) line() {
	kind := g.kind
	g.inLine = false
	if kind != '$' && kind != '*' {
		g.ended()
		return
	}
	switch n := g.length; {
	case g.last != '\r':
		g.refused = true
	case g.null, kind == '*' && n == 0:
		g.ended()
	case kind == '$':
		g.body = n + 2
		g.total += g.body
	case g.depth == maxDepth, n > g.mostMembers():
		g.refused = true
	default:
		g.members[g.depth] = n
		g.depth++
		if g.slots {
			g.total += n * slotsCost
		} else {
			g.total += n * memberCost
		}
	}
}

// mostMembers returns how many members an array that begins here may have.
func (g *replyBound) mostMembers() int64 {
	switch {
	case g.depth > 0:
		return maxMembers
	case g.slots:
		return maxRanges
	}
	return maxOutermost
}

// ended records the end of a value, and of all arrays that it completes.
func (g *replyBound) ended() {
	for g.depth > 0 {
		if g.members[g.depth-1]--; g.members[g.depth-1] > 0 {
			return
		}
		g.depth--
	}
}
