package keep_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/keep"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = 24 * time.Hour

// settings are the defaults of the configuration.
var settings = keep.Settings{RefreshBefore: 10 * day, CheckEvery: day, PerMinute: 60}

func keyOf(t testing.TB, token string) cache.Key {
	t.Helper()
	keys, err := cache.NewKeys(cache.KeysOptions{Secret: []byte("a secret"), Scope: "keep"})
	if err != nil {
		t.Fatal(err)
	}
	return keys.Derive(token)
}

// shelf plays the part of the Redis of a fleet: it is a map of records, which are replaced
// atomically.
type shelf struct {
	mu      sync.Mutex // protects the fields below
	records map[cache.ID]cache.Entry
	down    bool
}

func newShelf() *shelf { return &shelf{records: map[cache.ID]cache.Entry{}} }

// view is the shelf as one sidecar sees it, with copies in memory. It implements keep.Store.
type view struct {
	*shelf
	copies map[cache.ID]copied // protected by shelf.mu
}

type copied struct {
	cache.Entry
	at time.Time
}

func (s *shelf) view() *view { return &view{s, map[cache.ID]copied{}} }

func (s *shelf) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

var errDown = errors.New("the shelf is down")

// stored returns a record from the shelf. The caller holds mu.
func (s *shelf) stored(id cache.ID) (cache.Entry, bool) {
	e, found := s.records[id]
	return e, found && time.Now().Before(e.Expires)
}

func (v *view) Load(_ context.Context, k cache.Key, maxAge time.Duration) (cache.Entry, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old, hasCopy := v.copies[k.ID()]
	hasCopy = hasCopy && time.Now().Before(old.Expires)
	if v.down || hasCopy && time.Since(old.at) < maxAge {
		return old.Entry, hasCopy
	}
	e, found := v.stored(k.ID())
	if found {
		v.copies[k.ID()] = copied{e, time.Now()}
	}
	return e, found
}

func (v *view) Update(k cache.Key, change func(cache.Entry, bool) (cache.Entry, bool)) (cache.Entry, bool, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.down {
		return cache.Entry{}, false, errDown
	}
	old, found := v.stored(k.ID())
	next, replace := change(old, found)
	if replace {
		v.records[k.ID()] = next
		old = next
	}
	v.copies[k.ID()] = copied{old, time.Now()}
	return old, replace, nil
}

func (v *view) UpdateLater(k cache.Key, change func(cache.Entry, bool) (cache.Entry, bool)) {
	_, _, _ = v.Update(k, change)
}

// counts is an Observer.
type counts struct {
	mu       sync.Mutex // protects the fields below
	outcomes map[keep.Outcome]int
	ended    int
}

func (c *counts) Refresh(_ string, o keep.Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.outcomes == nil {
		c.outcomes = map[keep.Outcome]int{}
	}
	c.outcomes[o]++
}

func (c *counts) Ended(string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended++
}

func (c *counts) refreshes() map[keep.Outcome]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.outcomes)
}

func (c *counts) endedTokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// running is a Keeper that runs until end or stop is called. stop also waits for the refreshes in
// flight.
type running struct {
	*keep.Keeper
	*counts
	end func()
}

func (r *running) stop() {
	r.end()
	_ = r.Wait(context.Background())
}

// start starts a Keeper on a view of the shelf.
func start(s *shelf, set keep.Settings) *running { return startWith(s, set, nil) }

func startWith(s *shelf, set keep.Settings, log *slog.Logger) *running {
	c := &counts{}
	k := keep.New(keep.Options{Store: s.view(), MaxInFlight: 4, Observer: c, Logger: log})
	k.Set(set)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { // ends when end is called
		defer close(ended)
		k.Run(ctx)
	}()
	return &running{k, c, func() { cancel(); <-ended }}
}

// fleet has several sidecars that share a shelf.
type fleet struct {
	shelf *shelf
	mu    sync.Mutex // protects the fields below
	all   []*running
	stops periods // when sidecars were stopped; a stopped sidecar forgets the tokens in its queue
}

func startFleet(s *shelf, n int) *fleet {
	f := &fleet{shelf: s}
	for range n {
		f.all = append(f.all, start(s, settings))
	}
	return f
}

func (f *fleet) any(random *rand.Rand) *running {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.all[random.IntN(len(f.all))]
}

// restartOne replaces a sidecar with a new one, which has no copies in memory.
func (f *fleet) restartOne(random *rand.Rand) {
	f.mu.Lock()
	i := random.IntN(len(f.all))
	old := f.all[i]
	f.all[i] = start(f.shelf, settings)
	f.stops = append(f.stops, period{time.Now(), time.Now().Add(1)})
	f.mu.Unlock()
	old.stop()
}

func (f *fleet) restarts() periods {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.stops)
}

func (f *fleet) stop() {
	for _, one := range f.all {
		one.stop()
	}
}
