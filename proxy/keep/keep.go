// Package keep refreshes long-lived tokens in the background, while they are used and before they
// end.
//
// The token that Meta returns for a refresh is the successor of the old token. It is stored in a
// record that is sealed under the old token itself (see package cache). A call that brings the old
// token is sent with the successor, so the app can continue to send the token that it stored first.
// Without the old token, the record is unreadable. When the refresh of a token has ended, the
// package forgets the token.
//
// The package does not depend on HTTP or on Meta's calls: a Token has the function that refreshes
// it.
package keep

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/igproxy/igproxy/cache"
)

// Store stores records. *cache.Cache implements it.
type Store interface {
	Load(ctx context.Context, k cache.Key, maxAge time.Duration) (cache.Entry, bool)
	Update(k cache.Key, change func(stored cache.Entry, found bool) (cache.Entry, bool)) (cache.Entry, bool, error)
	UpdateLater(k cache.Key, change func(stored cache.Entry, found bool) (cache.Entry, bool))
}

// Outcome is how a refresh ended. The set of outcomes is fixed, because they are metric labels.
type Outcome string

// The outcomes.
const (
	Refreshed Outcome = "refreshed" // Meta issued a successor, or moved the end of the token
	Unchanged Outcome = "unchanged" // Meta's answer is not used: see record.refreshed and Keeper.finish
	Refused   Outcome = "refused"   // Meta refused a token that is known not to have ended
	Postponed Outcome = "postponed" // Meta refused a token whose end is unknown or past; the token may be too young
	Failed    Outcome = "failed"    // there was no definite answer, or the record could not be stored
	trying    Outcome = "trying"    // only in records: a refresh has begun, and its result is not yet recorded
)

// Outcomes are the outcomes that an Observer gets.
var Outcomes = []Outcome{Refreshed, Unchanged, Refused, Postponed, Failed}

// Result is what a Token's Refresh function returns. If Token is empty and Refused is false, there
// was no definite answer: for example, Meta did not answer or limited the rate.
type Result struct {
	Token   string    // the token that Meta returned; it may be the old token
	Expires time.Time // the end of the refreshed token
	Refused bool      // Meta will not refresh the token
	RetryAt time.Time // the earliest time of the next try; zero: unknown
	Cause   string    // why there is no refreshed token, for the log
}

// Token is a long-lived token that a request brought.
type Token struct {
	// App is the label of the app that the token belongs to.
	App string
	// Key names and seals the record of the token.
	Key cache.Key
	// Reveal returns the token.
	Reveal func() string
	// MayBeShort says that the token may be short-lived. Such a token is not refreshed while its
	// end is unknown, because a refresh would turn a short-lived token into a long-lived one.
	MayBeShort bool
	// Refresh asks Meta to refresh the token in its argument, which is this token or its successor.
	// The function must limit its own duration.
	Refresh func(ctx context.Context, token string) Result
}

// Observer counts what a Keeper does. Its methods must return quickly.
type Observer interface {
	// Refresh is called for each refresh that ended.
	Refresh(app string, o Outcome)
	// Ended is called for each token that was used within Settings.RefreshBefore of its end, and
	// then ended without a refresh.
	Ended(app string)
}

// Settings may change while a Keeper runs.
type Settings struct {
	// RefreshBefore is the time before the end of a token in which a use of the token leads to a
	// refresh.
	RefreshBefore time.Duration
	// CheckEvery is the shortest time between two refreshes of a token, unless the first one's
	// outcome is Failed.
	CheckEvery time.Duration
	// PerMinute is how many refreshes may begin in a minute.
	PerMinute int
}

// Options configure a Keeper.
type Options struct {
	// Store stores the records. Required.
	Store Store
	// MaxInFlight limits the refreshes in flight. Required.
	MaxInFlight int
	// Observer counts what the Keeper does. Required.
	Observer Observer
	// Logger receives a line for each call of Token.Refresh, and for tokens that ended without a
	// refresh. Nil: nothing is logged.
	Logger *slog.Logger
}

// Keeper refreshes tokens. It is safe for concurrent use.
type Keeper struct {
	options Options
	log     *slog.Logger
	slots   chan struct{}  // has one element for each refresh in flight
	wake    chan struct{}  // has an element after a token was added to the queue
	running sync.WaitGroup // the refreshes in flight

	mu       sync.Mutex // protects the fields below
	settings Settings
	queue    queue
	ending   ending
	history  history
}

// New returns a Keeper. The Keeper refreshes nothing until Set and Run are called.
func New(o Options) *Keeper {
	return &Keeper{options: o, log: cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		slots: make(chan struct{}, o.MaxInFlight), wake: make(chan struct{}, 1),
		queue: newQueue(), ending: ending{}, history: history{}}
}

// Set changes the settings.
func (k *Keeper) Set(s Settings) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settings = s
}

// Clear forgets the tokens that wait for a refresh and the tokens that are watched until they end.
// No refresh begins until Set is called again, even if Used is called.
func (k *Keeper) Clear() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.settings = Settings{}
	k.queue.clear()
	clear(k.ending)
}

func (k *Keeper) current() Settings {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.settings
}

// freshness is the age up to which the copy of a record in memory is used without asking Redis.
// If another process has replaced the successor meanwhile, the successor in the copy is normally
// still valid for longer than freshness.
const freshness = 5 * time.Minute

// Kept is a token with its record, if it has a record.
type Kept struct {
	Token
	record record
	found  bool
}

// Format prints the name of the record, but not the token or its successor.
func (t Kept) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.Key.ID().String()) }

// Find looks up the record of a token. It takes no longer than Store.Load.
func (k *Keeper) Find(ctx context.Context, t Token) Kept {
	e, found := k.options.Store.Load(ctx, t.Key, freshness)
	r, found := decodeRecord(e, found, time.Now())
	return Kept{t, r, found}
}

// Successor returns the successor of the token, and the end of the successor. It reports false if
// the token has no successor, or the successor has ended.
func (t Kept) Successor(now time.Time) (successor string, end time.Time, ok bool) {
	end = time.UnixMilli(t.record.SuccessorEnd)
	return t.record.successor(), end, t.record.Successor != nil && now.Before(end)
}

// IsKnownValid reports whether the token itself is known not to have ended.
func (t Kept) IsKnownValid(now time.Time) bool { return t.record.End > now.UnixMilli() }

// HasEnded reports whether the token itself is known to have ended.
func (t Kept) HasEnded(now time.Time) bool { return t.record.End > 0 && !t.IsKnownValid(now) }

// Used tells the Keeper that Meta has accepted a call with the token or its successor, or that an
// app has received the successor. If the successor (or the token, if it has no successor) is due
// for a refresh, Used queues the token. Used does not wait for the refresh. A token that ends soon
// is also watched, so that it is counted if it ends without a refresh.
func (k *Keeper) Used(t Kept) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.settings == (Settings{}) {
		return
	}
	if t.record.isEnding(now, k.settings.RefreshBefore) && !t.record.isShort() {
		k.ending.add(t.App, t.Key, t.record.end())
	} else {
		k.ending.remove(t.Key.ID())
	}
	unknown := !t.found || t.record.end() <= now.UnixMilli()
	if unknown && t.MayBeShort || !t.record.isDue(now, k.settings.RefreshBefore) {
		return
	}
	if k.queue.add(waiting{t.Token, t.record.end()}) {
		select {
		case k.wake <- struct{}{}:
		default:
		}
	}
}

// Invalid tells the Keeper that Meta has refused the token itself as invalid. The token is then not
// counted as a token that ended without a refresh.
func (k *Keeper) Invalid(t Token) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ending.remove(t.Key.ID())
}

// Issued records the end of a token that Meta has issued, unless the same or a later end is known.
func (k *Keeper) Issued(key cache.Key, end time.Time) {
	k.options.Store.UpdateLater(key, func(e cache.Entry, found bool) (cache.Entry, bool) {
		now := time.Now()
		r, _ := decodeRecord(e, found, now)
		if r.end() >= capped(now, end) {
			return e, false
		}
		return r.issued(now, end).entry(now), true
	})
}

// Replaced records that Meta has refreshed the token, in a call of an app or in Token.Refresh.
// Replaced ignores a token that is recorded as short-lived, and a token without a record that may
// be short-lived.
func (k *Keeper) Replaced(t Token, successor string, end time.Time) {
	every := k.current().CheckEvery
	k.options.Store.UpdateLater(t.Key, func(e cache.Entry, found bool) (cache.Entry, bool) {
		now := time.Now()
		r, found := decodeRecord(e, found, now)
		if r.isShort() || !found && t.MayBeShort {
			return e, false
		}
		r = r.refreshed(t.Reveal(), now, successor, end)
		r.Tried, r.Next = now.UnixMilli(), now.Add(every).UnixMilli()
		return r.entry(now), true
	})
}

// Drop forgets the successor of a token after Meta has refused the successor. Call it only if Meta
// accepts the token itself. If Meta accepts neither token, the refusal of the successor may be a
// mistake, and the successor may be the only valid token.
func (k *Keeper) Drop(t Kept) {
	every := k.current().CheckEvery
	k.options.Store.UpdateLater(t.Key, func(e cache.Entry, found bool) (cache.Entry, bool) {
		now := time.Now()
		r, found := decodeRecord(e, found, now)
		if !found || r.Successor == nil || r.successor() != t.record.successor() {
			return e, false
		}
		r = r.dropped()
		r.Next = now.Add(every).UnixMilli()
		return r.entry(now), true
	})
}
