package keep

import (
	"cmp"
	"math"
	"slices"

	"github.com/igproxy/igproxy/cache"
)

// maxWaiting bounds the tokens that wait for a refresh, because they are in memory in plain text. A
// token that does not fit into the queue is added when it is next used, if it fits then.
const maxWaiting = 1000

// waiting is a token that waits for a refresh.
type waiting struct {
	Token
	end int64 // of the token to refresh (this one or its successor), Unix milliseconds; zero: unknown
}

// queue holds the tokens that wait for a refresh, in the order of their ends. Tokens with an
// unknown end come last. A token is in the queue only once, and not while it is being refreshed.
type queue struct {
	waiting []waiting
	known   map[cache.ID]bool // the tokens that wait and the tokens that are being refreshed
}

func newQueue() queue { return queue{known: map[cache.ID]bool{}} }

// add adds a token, unless it already waits or is being refreshed, and reports whether the token
// was added. If the queue is full, add drops the token that comes last, which may be the new one.
func (q *queue) add(w waiting) bool {
	if q.known[w.Key.ID()] {
		return false
	}
	at, _ := slices.BinarySearchFunc(q.waiting, w, func(a, b waiting) int {
		if order := cmp.Compare(a.order(), b.order()); order != 0 {
			return order
		}
		return -1 // a new token comes after tokens with the same end
	})
	if at == maxWaiting {
		return false
	}
	if len(q.waiting) == maxWaiting {
		last := q.waiting[maxWaiting-1]
		delete(q.known, last.Key.ID())
		q.waiting = q.waiting[:maxWaiting-1]
	}
	q.waiting = slices.Insert(q.waiting, at, w)
	q.known[w.Key.ID()] = true
	return true
}

// order returns the end, or the largest number if the end is unknown.
func (w waiting) order() int64 {
	if w.end == 0 {
		return math.MaxInt64
	}
	return w.end
}

// take removes and returns the token that ends first. Call done when its refresh has ended.
func (q *queue) take() (w waiting, ok bool) {
	if len(q.waiting) == 0 {
		return waiting{}, false
	}
	w = q.waiting[0]
	q.waiting = slices.Delete(q.waiting, 0, 1)
	return w, true
}

// clear removes all tokens that wait.
func (q *queue) clear() {
	for _, w := range q.waiting {
		delete(q.known, w.Key.ID())
	}
	q.waiting = nil
}

// done forgets a token that take has returned. It can then be added again.
func (q *queue) done(id cache.ID) { delete(q.known, id) }
