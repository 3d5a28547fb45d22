package mock

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"sync"
	"time"
)

const (
	shortLife  = time.Hour
	codeLife   = time.Hour
	refreshAge = 24 * time.Hour // minimum age of a long-lived token for a refresh
	maxEntries = 1 << 20        // when reached, all are dropped and treated as not issued here
)

// ledger records by hash which tokens and codes were issued and used, and holds the clock. Unlike
// the counters, it is not affected by Reset.
type ledger struct {
	mu     sync.Mutex // protects the fields below
	ahead  time.Duration
	tokens map[digest]issuedToken
	codes  map[digest]issuedCode
}

type digest [16]byte

type issuedToken struct {
	issued time.Time
	life   time.Duration
	long   bool
}

type issuedCode struct {
	issued   time.Time
	client   digest // of the app id it is bound to; zero accepts any
	redirect digest // of the redirect_uri it is bound to; zero accepts any
	used     bool
}

func newLedger() *ledger {
	return &ledger{tokens: map[digest]issuedToken{}, codes: map[digest]issuedCode{}}
}

// digestOf returns the digest of text; it is zero if text is empty.
func digestOf(text string) (d digest) {
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		copy(d[:], sum[:])
	}
	return d
}

// now returns the ledger's time. The caller holds l.mu.
func (l *ledger) now() time.Time { return time.Now().Add(l.ahead) }

func (l *ledger) age(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead += d
}

func (l *ledger) add(token string, life time.Duration, long bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.tokens) >= maxEntries {
		clear(l.tokens)
	}
	l.tokens[digestOf(token)] = issuedToken{l.now(), life, long}
}

// token returns what is known about a token: its record, its age, and whether it was issued here.
func (l *ledger) token(token string) (t issuedToken, age time.Duration, issued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, issued = l.tokens[digestOf(token)]
	return t, l.now().Sub(t.issued), issued
}

// newCode issues a code that looks like Instagram's, for an app and a redirect_uri. An empty
// argument accepts any value.
func (l *ledger) newCode(client, redirect string) string {
	raw := make([]byte, 150)
	_, _ = rand.Read(raw) // never returns an error
	code := "AQ" + base64.RawURLEncoding.EncodeToString(raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.makeRoom()
	l.codes[digestOf(code)] = issuedCode{issued: l.now(), client: digestOf(client), redirect: digestOf(redirect)}
	return code
}

// take marks a code as used, or returns the refusal. A code that was not issued here works once,
// for any app and redirect_uri.
func (l *ledger) take(code, client, redirect string) *graphError {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := digestOf(code)
	c, issued := l.codes[id]
	switch {
	case !issued:
		l.makeRoom()
		c.issued = l.now()
	case c.used:
		return &codeUsed
	case l.now().Sub(c.issued) >= codeLife:
		return &codeExpired
	case c.client != digest{} && c.client != digestOf(client):
		return &codeUnmatched
	case c.redirect != digest{} && c.redirect != digestOf(redirect):
		return &codeUnverified
	}
	c.used = true
	l.codes[id] = c
	return nil
}

// giveBack makes a used code valid again.
func (l *ledger) giveBack(code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.codes[digestOf(code)]; ok {
		c.used = false
		l.codes[digestOf(code)] = c
	}
}

// makeRoom drops all codes if there are too many. The caller holds l.mu.
func (l *ledger) makeRoom() {
	if len(l.codes) >= maxEntries {
		clear(l.codes)
	}
}
