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

// counters count the requests from one Reset to the next. They keep only hashes of tokens. The
// issued tokens are not kept: Issued derives them again.
type counters struct {
	key []byte // derives issued tokens; random, so that tokens issued after a Reset are new

	mu     sync.Mutex // protects the fields below
	sums   stats
	tokens map[string]*tokenCount // by hash of the received token, code or app's ID
	serial int                    // total number of issued tokens
}

// stats is the JSON object that GET /__stats returns.
type stats struct {
	Total       int                   `json:"total"`
	InFlight    int                   `json:"in_flight"`
	MaxInFlight int                   `json:"max_in_flight"`
	Strange     []string              `json:"strange"`
	Trapped     int                   `json:"trapped"`
	BodyBytes   int64                 `json:"body_bytes"` // of login calls and writes
	Endpoints   map[string]int        `json:"endpoints"`
	Tokens      map[string]tokenStats `json:"tokens"`
	Faults      map[string]int        `json:"faults"`
}

type tokenStats struct {
	Calls         int `json:"calls"`
	Refreshes     int `json:"refreshes"` // calls that ask for a refresh; they count as calls too
	MaxConcurrent int `json:"max_concurrent"`
}

type tokenCount struct {
	tokenStats
	concurrent int      // requests in flight
	issued     []string // the prefix of each token that was issued for this token, in order; see unchanged
	failedOnce bool     // a fault that affects only the first call has been played
}

// unchanged, instead of a prefix, means that the stand-in returns the token that it received.
const unchanged = ""

func newCounters() *counters {
	key := make([]byte, sha256.Size)
	_, _ = rand.Read(key) // never returns an error
	return &counters{key: key, tokens: map[string]*tokenCount{}, sums: stats{Strange: []string{}, Endpoints: map[string]int{}, Faults: map[string]int{}}}
}

// hashOf returns a hash of a token. The hash stands for the token in logs and counters.
func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// carried describes what a request carries. An empty hash means that the request has no token.
type carried struct {
	endpoint string
	hash     string
	refresh  bool // the request asks for a refresh of the token
	strange  []string
}

// arrive counts a new request and what it carries. If the endpoint reads a body, the argument is
// nil, and the caller calls carry after it has read the body.
func (c *counters) arrive(what *carried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums.Total++
	c.sums.InFlight++
	c.sums.MaxInFlight = max(c.sums.MaxInFlight, c.sums.InFlight)
	if what != nil {
		c.count(what)
	}
}

// carry counts what a request carries, after the body of the request has been read.
func (c *counters) carry(what *carried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(what)
}

// count adds what a request carries to the counters. The caller holds c.mu.
func (c *counters) count(what *carried) {
	c.sums.Endpoints[what.endpoint]++
	if len(what.strange) > 0 && len(c.sums.Strange) < maxStrange {
		c.sums.Strange = append(c.sums.Strange, strings.Join(what.strange, ", "))
	}
	if what.hash == "" {
		return
	}
	t := c.tokens[what.hash]
	if t == nil {
		t = &tokenCount{}
		c.tokens[what.hash] = t
	}
	t.Calls++
	if what.refresh {
		t.Refreshes++
	}
	t.concurrent++
	t.MaxConcurrent = max(t.MaxConcurrent, t.concurrent)
}

// leave counts a request as finished. hash is the hash of its token, or "".
func (c *counters) leave(hash string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums.InFlight--
	if hash != "" {
		c.tokens[hash].concurrent--
	}
}

func (c *counters) faulty(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums.Faults[name]++
}

func (c *counters) uploaded(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums.BodyBytes += int64(n)
}

func (c *counters) trapped() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sums.Trapped++
}

// first returns true once per token, for faults that affect only the first request with a token.
func (c *counters) first(hash string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.tokens[hash]
	first := !t.failedOnce
	t.failedOnce = true
	return first
}

// issue returns the next token. The parameter short is the token, code or app's ID that was
// received; issue returns it if prefix equals the constant unchanged. expires is the lifetime in
// seconds of a long-lived token.
func (c *counters) issue(short, prefix string) (token string, expires int) {
	c.mu.Lock()
	t := c.tokens[hashOf(short)]
	n, serial := len(t.issued), c.serial
	t.issued = append(t.issued, prefix)
	c.serial++
	c.mu.Unlock()
	return c.nth(short, prefix, n), expiresIn(serial)
}

// nth returns the nth token, counted from 0, for a received token, code or app's ID.
func (c *counters) nth(short, prefix string, n int) string {
	if prefix == unchanged {
		return short
	}
	return newToken(c.key, short, prefix, n)
}

func (c *counters) issued(short string) []string {
	c.mu.Lock()
	t := c.tokens[hashOf(short)]
	var prefixes []string
	if t != nil {
		prefixes = slices.Clone(t.issued)
	}
	c.mu.Unlock()
	tokens := make([]string, len(prefixes))
	for n, prefix := range prefixes {
		tokens[n] = c.nth(short, prefix, n)
	}
	return tokens
}

func (c *counters) token(short string) tokenStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.tokens[hashOf(short)]; t != nil {
		return t.tokenStats
	}
	return tokenStats{}
}

// stats returns all counters except the counters of each token, because there can be many tokens.
func (c *counters) stats() stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sums
	s.Strange, s.Faults, s.Endpoints = slices.Clone(s.Strange), maps.Clone(s.Faults), maps.Clone(s.Endpoints)
	return s
}

func (c *counters) fullStats() stats {
	s := c.stats()
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Tokens = make(map[string]tokenStats, len(c.tokens))
	for hash, t := range c.tokens {
		s.Tokens[hash] = t.tokenStats
	}
	return s
}
