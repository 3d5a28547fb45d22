package mock

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"
)

// maxStrange limits the list of strange requests.
const maxStrange = 1000

// book is one set of counters. It keeps tokens only as hashes; issued tokens are derived again when
// Issued asks for them.
type book struct {
	key []byte // derives issued tokens; random, so that no two books issue the same

	mu     sync.Mutex // protects the fields below
	sums   stats
	tokens map[string]*tokenCount // by hash of the token or code received
	serial int                    // number of tokens issued in all
}

// stats is the JSON object that GET /__stats returns.
type stats struct {
	Total       int                   `json:"total"`
	InFlight    int                   `json:"in_flight"`
	MaxInFlight int                   `json:"max_in_flight"`
	Strange     []string              `json:"strange"`
	Trapped     int                   `json:"trapped"`
	BodyBytes   int64                 `json:"body_bytes"` // of code exchanges and writes
	Endpoints   map[string]int        `json:"endpoints"`
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
	issued     []string // prefixes of the tokens issued for it
	failedOnce bool     // a fault that affects only the first call has been played
}

func newBook() *book {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never returns an error
	return &book{key: key, tokens: map[string]*tokenCount{}, sums: stats{Strange: []string{}, Endpoints: map[string]int{}, Faults: map[string]int{}}}
}

// hashOf returns the name under which a token may appear in logs and counters.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// carried describes what a request carries. An empty hash means that it has no token.
type carried struct {
	endpoint string
	hash     string
	strange  []string
}

// arrive counts a new request and, unless c is nil, what it carries. c is nil while the request
// body has not been read.
func (b *book) arrive(c *carried) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.Total++
	b.sums.InFlight++
	b.sums.MaxInFlight = max(b.sums.MaxInFlight, b.sums.InFlight)
	if c != nil {
		b.count(c)
	}
}

// carry counts what a request carries once its body has been read.
func (b *book) carry(c *carried) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.count(c)
}

// count adds c to the counters. The caller holds b.mu.
func (b *book) count(c *carried) {
	b.sums.Endpoints[c.endpoint]++
	if len(c.strange) > 0 && len(b.sums.Strange) < maxStrange {
		b.sums.Strange = append(b.sums.Strange, strings.Join(c.strange, ", "))
	}
	if c.hash == "" {
		return
	}
	t := b.tokens[c.hash]
	if t == nil {
		t = &tokenCount{}
		b.tokens[c.hash] = t
	}
	t.Calls++
	t.concurrent++
	t.MaxConcurrent = max(t.MaxConcurrent, t.concurrent)
}

// leave counts a request as finished. hash is its token's, or "".
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

func (b *book) uploaded(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.BodyBytes += int64(n)
}

func (b *book) trapped() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sums.Trapped++
}

// first reports whether this is the first request with this token, for faults that affect only that
// one. It returns true once per token.
func (b *book) first(hash string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.tokens[hash]
	first := !t.failedOnce
	t.failedOnce = true
	return first
}

// issue returns the next token for a token or code that was received, and the lifetime of a
// long-lived one in seconds.
func (b *book) issue(short, prefix string) (token string, expires int) {
	b.mu.Lock()
	t := b.tokens[hashOf(short)]
	n, serial := len(t.issued), b.serial
	t.issued = append(t.issued, prefix)
	b.serial++
	b.mu.Unlock()
	return newToken(b.key, short, prefix, n), expiresIn(serial)
}

func (b *book) issued(short string) []string {
	b.mu.Lock()
	t := b.tokens[hashOf(short)]
	var prefixes []string
	if t != nil {
		prefixes = slices.Clone(t.issued)
	}
	b.mu.Unlock()
	tokens := make([]string, len(prefixes))
	for n, prefix := range prefixes {
		tokens[n] = newToken(b.key, short, prefix, n)
	}
	return tokens
}

func (b *book) token(short string) tokenStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.tokens[hashOf(short)]; t != nil {
		return t.tokenStats
	}
	return tokenStats{}
}

// stats returns the counters without those of single tokens, of which there can be many.
func (b *book) stats() stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sums
	s.Strange, s.Faults, s.Endpoints = slices.Clone(s.Strange), maps.Clone(s.Faults), maps.Clone(s.Endpoints)
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
