package listener

import (
	"container/heap"
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// connections are the open connections of one or more listeners, in the order in which they are
// closed to make room. Answering a request on a kept connection takes no lock here: the order is
// brought up to date only when room is needed.
type connections struct {
	limit         int           // on the number of open connections
	headerTimeout time.Duration // bounds the time for which a header may be incomplete; zero: no limit

	mu         sync.Mutex // protects all fields below
	all        byKey
	incomplete list.List            // of *conn: fresh, or with an incomplete request header, oldest first
	addresses  map[netip.Prefix]int // number of incomplete connections by address
	armed      bool                 // a timer will call expire
}

const (
	// moment is how long a connection must have been idle, or its request header incomplete, before
	// it may be closed to make room. That is far longer than a server needs to send the rest of a
	// response after its handler has ended. It is also far longer than a client on a busy machine
	// needs to send its first request.
	moment = 250 * time.Millisecond
	// searchLimit bounds how many connections longestIdle looks at.
	searchLimit = 1000
	// addressSearchLimit bounds how many connections oldestIncomplete looks at.
	addressSearchLimit = 64
)

func newConnections(limit int, headerTimeout time.Duration) *connections {
	return &connections{limit: limit, headerTimeout: headerTimeout, addresses: map[netip.Prefix]int{}}
}

// addWithin adds a fresh connection. It reports false if the limit is reached.
func (s *connections) addWithin(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= s.limit {
		return false
	}
	s.insert(c)
	return true
}

// add adds a fresh connection, even beyond the limit.
func (s *connections) add(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.insert(c)
}

func (s *connections) insert(c *conn) {
	now := time.Now().UnixNano()
	c.state.Store(now)
	c.key = now
	heap.Push(&s.all, c)
	c.listed.Store(true)
	s.append(c, now)
}

// remove removes a connection. Removing it again does nothing.
func (s *connections) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.index < len(s.all) && s.all[c.index] == c {
		heap.Remove(&s.all, c.index)
	}
	s.drop(c)
}

// snapshot returns all open connections.
func (s *connections) snapshot() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

// list records that c has an incomplete request header, unless a handler begins at the same moment.
// In that race either conn.begin sees that c is listed, or list sees that the handler has begun.
func (s *connections) list(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.listed.Store(true)
	if c.state.Load() != reading || c.element != nil {
		c.listed.Store(c.element != nil)
		return
	}
	s.append(c, time.Now().UnixNano())
}

// append makes c the newest of the incomplete connections.
func (s *connections) append(c *conn, now int64) {
	c.listedAt = now
	c.element = s.incomplete.PushBack(c)
	s.addresses[c.address]++
	s.arm()
}

// arm schedules expire for the time at which the oldest incomplete connection is due.
func (s *connections) arm() {
	oldest := s.incomplete.Front()
	if s.armed || s.headerTimeout == 0 || oldest == nil {
		return
	}
	s.armed = true
	time.AfterFunc(max(s.untilDue(oldest.Value.(*conn)), pollInterval), s.expire)
}

// untilDue returns the time left for the header of an incomplete connection.
func (s *connections) untilDue(c *conn) time.Duration {
	return time.Until(time.Unix(0, c.listedAt)) + s.headerTimeout
}

// unlist records that c has no incomplete header.
func (s *connections) unlist(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(c)
}

func (s *connections) drop(c *conn) {
	c.listed.Store(false)
	if c.element == nil {
		return
	}
	s.incomplete.Remove(c.element)
	c.element = nil
	if s.addresses[c.address]--; s.addresses[c.address] == 0 {
		delete(s.addresses, c.address)
	}
}

// postpone restarts the time for which c has been idle, or for which a header on c has been
// incomplete. Callers have found unread bytes on c.
func (s *connections) postpone(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c.touch()
	if c.element != nil {
		c.listedAt = time.Now().UnixNano()
		s.incomplete.MoveToBack(c.element)
	}
}

// expire closes the connections whose headers have been incomplete for too long. net/http does so
// too, but it waits longer for the first bytes of a request on a kept connection, and for the first
// request over HTTP/2.
func (s *connections) expire() {
	for _, c := range s.due() {
		if state := c.state.Load(); unread(c.Conn) {
			s.postpone(c)
		} else if isIncomplete(state) {
			c.evict(state)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = false
	s.arm()
}

// due returns the connections whose headers have been incomplete for too long.
func (s *connections) due() (due []*conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.incomplete.Front(); e != nil && s.untilDue(e.Value.(*conn)) <= 0; e = e.Next() {
		due = append(due, e.Value.(*conn))
	}
	return due
}

// isIncomplete reports whether a listed connection in this state has no complete request header.
func isIncomplete(state int64) bool { return state == reading || state >= quiet }

// victim returns the connection to close next to make room, with its state. It returns nil if no
// connection can be closed now. Connections whose header is incomplete go first, then the one that
// has been idle longest. If the incomplete connections are more than an eighth of the limit, but
// all of them are too new to be closed, victim leaves the idle connections alone, so that a flood
// does not close them.
func (s *connections) victim() (*conn, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cutoff := time.Now().Add(-moment).UnixNano()
	if c, state := s.oldestIncomplete(cutoff); c != nil || s.incomplete.Len() > s.limit/8 {
		return c, state
	}
	return s.longestIdle(cutoff)
}

// oldestIncomplete returns the oldest connection whose header is incomplete, from the address with
// the largest number of such connections. A fixed share for each address would hurt a load balancer
// or a NAT, whose clients share an address. With this rule an address loses connections only when
// room is needed, and only connections without a complete request. Connections that were listed
// after cutoff, in Unix nanoseconds, are too new to be closed.
func (s *connections) oldestIncomplete(cutoff int64) (oldest *conn, in int64) {
	most, looks := 0, 0
	for e := s.incomplete.Front(); e != nil && looks < addressSearchLimit; e = e.Next() {
		c := e.Value.(*conn)
		if c.listedAt > cutoff {
			break
		}
		looks++
		// All clients on this machine have the zero Prefix as their address. Each of their
		// connections counts alone, because one client must not suffer for another.
		weight := 1
		if c.address.IsValid() {
			weight = s.addresses[c.address]
		}
		if state := c.state.Load(); weight > most && isIncomplete(state) {
			oldest, in, most = c, state, weight
		}
	}
	return oldest, in
}

// longestIdle returns the connection that has been idle longest. It returns nil if every idle
// connection became idle after cutoff, in Unix nanoseconds, or if the search reaches its limit. On
// the way it corrects the keys of connections that have been used since they were last ordered.
func (s *connections) longestIdle(cutoff int64) (*conn, int64) {
	now := time.Now().UnixNano()
	for range min(searchLimit, 2*len(s.all)) {
		c := s.all[0]
		switch state := c.state.Load(); {
		case c.key > cutoff:
			return nil, 0 // no connection has been idle for long enough
		case state < quiet || c.element != nil:
			c.key = now
		case state > c.key:
			c.key = state
		default:
			return c, state
		}
		heap.Fix(&s.all, 0)
	}
	return nil, 0
}

// byKey is a heap of connections, for container/heap.
type byKey []*conn

func (h byKey) Len() int           { return len(h) }
func (h byKey) Less(i, j int) bool { return h[i].key < h[j].key }
func (h byKey) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].index, h[j].index = i, j }

func (h *byKey) Push(c any) { c.(*conn).index = len(*h); *h = append(*h, c.(*conn)) }

func (h *byKey) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return c
}
