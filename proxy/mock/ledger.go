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
	refreshAge = 24 * time.Hour // a long-lived token must have it to be refreshed
	maxEntries = 1 << 20        // then all are forgotten, and what comes is taken as any token or code is
)

// ledger knows what was issued and what was used, by hash, and the time. Unlike the counters it survives Reset.
type ledger struct {
	mu     sync.Mutex // protects what follows
	ahead  time.Duration
	tokens map[digest]issuedToken
	codes  map[digest]issuedCode
}

type digest [16]byte

type issuedToken struct {
	born time.Time
	life time.Duration
	long bool
}

type issuedCode struct {
	born     time.Time
	client   digest // of the app id and the redirect_uri it is bound to; zero: to none
	redirect digest
	used     bool
}

func newLedger() *ledger {
	return &ledger{tokens: map[digest]issuedToken{}, codes: map[digest]issuedCode{}}
}

// digestOf is zero for an empty text.
func digestOf(text string) (d digest) {
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		copy(d[:], sum[:])
	}
	return d
}

// now is called under the lock.
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

// token is what is known of a token: whether it was issued, as what, and how old it is.
func (l *ledger) token(token string) (t issuedToken, age time.Duration, issued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, issued = l.tokens[digestOf(token)]
	return t, l.now().Sub(t.born), issued
}

// newCode makes a code for an app and a redirect_uri; any, where they are empty. It looks like Instagram's.
func (l *ledger) newCode(client, redirect string) string {
	raw := make([]byte, 150)
	_, _ = rand.Read(raw) // never fails
	code := "AQ" + base64.RawURLEncoding.EncodeToString(raw)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room()
	l.codes[digestOf(code)] = issuedCode{born: l.now(), client: digestOf(client), redirect: digestOf(redirect)}
	return code
}

// take uses a code up, or tells why not. A code that nobody issued is good once, for every app and redirect_uri.
func (l *ledger) take(code, client, redirect string) *graphError {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := digestOf(code)
	c, issued := l.codes[id]
	switch {
	case !issued:
		l.room()
		c.born = l.now()
	case c.used:
		return &codeUsed
	case l.now().Sub(c.born) >= codeLife:
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

// giveBack makes a code good again.
func (l *ledger) giveBack(code string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c, ok := l.codes[digestOf(code)]; ok {
		c.used = false
		l.codes[digestOf(code)] = c
	}
}

func (l *ledger) room() {
	if len(l.codes) >= maxEntries {
		clear(l.codes)
	}
}
