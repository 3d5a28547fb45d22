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
	refreshAge = 24 * time.Hour      // minimum age of a long-lived token for a refresh
	dataLife   = 90 * 24 * time.Hour // how long an app may use the data of a user who does not come back
	maxEntries = 1 << 20             // when a map has this many entries, the next entry replaces them all
)

// issuedRecords records which tokens and codes were issued, used or revoked. It stores only their
// hashes. It also holds the stand-in's clock. A Reset changes the counters, but not these records.
type issuedRecords struct {
	mu      sync.Mutex    // protects the fields below
	ahead   time.Duration // how far the stand-in's clock is ahead of the real time
	tokens  map[digest]issuedToken
	revoked map[digest]int // the subcode of each revoked token's refusal
	codes   map[digest]issuedCode
}

type digest [16]byte

type issuedToken struct {
	family *family
	issued time.Time
	life   time.Duration // zero: it does not expire
	long   bool
	app    bool // it is an app token
}

type issuedCode struct {
	issued   time.Time
	client   digest // of the app's ID that the code is bound to; zero accepts any ID
	redirect digest // of the redirect_uri that the code is bound to; zero accepts any URI
	used     bool
}

func newIssuedRecords() *issuedRecords {
	return &issuedRecords{tokens: map[digest]issuedToken{}, revoked: map[digest]int{}, codes: map[digest]issuedCode{}}
}

// digestOf returns the digest of text; it is zero if text is empty.
func digestOf(text string) (d digest) {
	if text != "" {
		sum := sha256.Sum256([]byte(text))
		copy(d[:], sum[:])
	}
	return d
}

// now returns the stand-in's time, which Age moves ahead. The caller holds r.mu.
func (r *issuedRecords) now() time.Time { return time.Now().Add(r.ahead) }

func (r *issuedRecords) age(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ahead += d
}

// add records that a token was issued now.
func (r *issuedRecords) add(token string, t issuedToken) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.tokens) >= maxEntries {
		clear(r.tokens)
	}
	t.issued = r.now()
	r.tokens[digestOf(token)] = t
}

// token returns the record of a token, its age, and whether the stand-in issued it.
func (r *issuedRecords) token(token string) (t issuedToken, age time.Duration, issued bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, issued = r.tokens[digestOf(token)]
	return t, r.now().Sub(t.issued), issued
}

// dead returns the refusal of a token that is revoked or expired. For any other token it returns
// nil.
func (r *issuedRecords) dead(token string) *graphError {
	t, age, issued := r.token(token)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch subcode, is := r.revoked[digestOf(token)]; {
	case is:
		e := revocations[subcode]
		return &e
	case issued && t.life > 0 && age >= t.life:
		return &expired
	}
	return nil
}

func (r *issuedRecords) revoke(token string, subcode int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.revoked) >= maxEntries {
		clear(r.revoked)
	}
	r.revoked[digestOf(token)] = subcode
}

// newCode issues a code that looks like Instagram's, for an app and a redirect_uri. An empty
// argument accepts any value.
func (r *issuedRecords) newCode(client, redirect string) string {
	raw := make([]byte, 150)
	_, _ = rand.Read(raw) // never returns an error
	code := "AQ" + base64.RawURLEncoding.EncodeToString(raw)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.makeRoom()
	r.codes[digestOf(code)] = issuedCode{issued: r.now(), client: digestOf(client), redirect: digestOf(redirect)}
	return code
}

// take marks a code as used, or returns the refusal. A code that was not issued here works once,
// for any app and redirect_uri.
func (r *issuedRecords) take(code, client, redirect string) *graphError {
	r.mu.Lock()
	defer r.mu.Unlock()
	id := digestOf(code)
	c, issued := r.codes[id]
	switch {
	case !issued:
		r.makeRoom()
		c.issued = r.now()
	case c.used:
		return &codeUsed
	case r.now().Sub(c.issued) >= codeLife:
		return &codeExpired
	case c.client != digest{} && c.client != digestOf(client):
		return &codeUnmatched
	case c.redirect != digest{} && c.redirect != digestOf(redirect):
		return &codeUnverified
	}
	c.used = true
	r.codes[id] = c
	return nil
}

// giveBack makes a used code valid again.
func (r *issuedRecords) giveBack(code string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.codes[digestOf(code)]; ok {
		c.used = false
		r.codes[digestOf(code)] = c
	}
}

// makeRoom drops all codes if there are too many. The caller holds r.mu.
func (r *issuedRecords) makeRoom() {
	if len(r.codes) >= maxEntries {
		clear(r.codes)
	}
}
