package proxytest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
)

// maxStrange bounds the list of strange requests; beyond it nobody reads on.
const maxStrange = 1000

// book is one set of counters. Tokens are kept by hash only: long-lived ones are made again when Issued asks for them.
type book struct {
	key []byte // of the long-lived tokens; random, so that no two books make the same

	mu     sync.Mutex // protects what follows
	sums   stats
	tokens map[string]*tokenCount // by hash of the short-lived token
	serial int                    // long-lived tokens made for all of them
}

// stats is the JSON of /__stats.
type stats struct {
	Total       int                   `json:"total"`
	InFlight    int                   `json:"in_flight"`
	MaxInFlight int                   `json:"max_in_flight"`
	Strange     []string              `json:"strange"`
	Trapped     int                   `json:"trapped"`
	Tokens      map[string]tokenStats `json:"tokens"`
	Faults      map[string]int        `json:"faults"`
}

type tokenStats struct {
	Calls         int `json:"calls"`
	MaxConcurrent int `json:"max_concurrent"`
}

type tokenCount struct {
	tokenStats
	concurrent int
	issued     int
	failedOnce bool // a fault of the first call only has had its turn
}

func newBook() *book {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never fails: it ends the process rather
	return &book{key: key, tokens: map[string]*tokenCount{}, sums: stats{Strange: []string{}, Faults: map[string]int{}}}
}

// hashOf names a token where it may be read.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// arrive counts a request in. An empty hash means that it carries no token.
func (b *book) arrive(hash string, strange []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.Total++
	b.sums.InFlight++
	b.sums.MaxInFlight = max(b.sums.MaxInFlight, b.sums.InFlight)
	if len(strange) > 0 && len(b.sums.Strange) < maxStrange {
		b.sums.Strange = append(b.sums.Strange, strings.Join(strange, ", "))
	}
	if hash == "" {
		return
	}
	t := b.tokens[hash]
	if t == nil {
		t = &tokenCount{}
		b.tokens[hash] = t
	}
	t.Calls++
	t.concurrent++
	t.MaxConcurrent = max(t.MaxConcurrent, t.concurrent)
}

// leave counts it out again.
func (b *book) leave(hash string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.InFlight--
	if hash != "" {
		b.tokens[hash].concurrent--
	}
}

func (b *book) faulty(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.Faults[name]++
}

func (b *book) trapped() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.Trapped++
}

// first reports, once for each token that arrived, that a fault of the first call is due.
func (b *book) first(hash string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tokens[hash]
	due := !t.failedOnce
	t.failedOnce = true
	return due
}

// issue makes the next long-lived token for a token that arrived, and its seconds to live.
func (b *book) issue(short string) (long string, expires int) {
	b.mu.Lock()
	t := b.tokens[hashOf(short)]
	n, serial := t.issued, b.serial
	t.issued++
	b.serial++
	b.mu.Unlock()
	return longToken(b.key, short, n), expiresIn(serial)
}

func (b *book) issued(short string) []string {
	b.mu.Lock()
	t := b.tokens[hashOf(short)]
	n := 0
	if t != nil {
		n = t.issued
	}
	b.mu.Unlock()
	longs := make([]string, n)
	for i := range longs {
		longs[i] = longToken(b.key, short, i)
	}
	return longs
}

func (b *book) token(short string) tokenStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.tokens[hashOf(short)]; t != nil {
		return t.tokenStats
	}
	return tokenStats{}
}

// stats without the tokens, which can be many.
func (b *book) stats() stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sums
	s.Strange, s.Faults = slices.Clone(s.Strange), maps.Clone(s.Faults)
	return s
}

func (b *book) fullStats() stats {
	s := b.stats()
	b.mu.Lock()
	defer b.mu.Unlock()
	s.Tokens = make(map[string]tokenStats, len(b.tokens))
	for hash, t := range b.tokens {
		s.Tokens[hash] = t.tokenStats
	}
	return s
}
