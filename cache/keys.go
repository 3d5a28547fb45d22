package cache

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
)

// HKDF labels (RFC 5869). A change of any of them makes stored entries unreachable.
const (
	labelPepper = "igproxy/v2/pepper"
	labelPurge  = "igproxy/v2/purge/"
	labelID     = "igproxy/v2/id"
	labelSeal   = "igproxy/v2/seal"
)

// ID names an entry. It is a keyed hash of the token. The key of the hash is derived from the
// pepper (see NewKeys). Without the pepper an ID does not identify the token, so it may be logged
// and stored. The names of keys in Redis are in redis_keys.go.
type ID [sha256.Size]byte

// String returns the ID in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// KeysOptions say what keys are derived from. Options that differ in more than Purges never give
// the same key.
type KeysOptions struct {
	// Secret is the client secret, or the content of the key file. Required.
	Secret []byte
	// Service is the API that an entry was obtained from. May be empty.
	Service string
	// Upstream is the base URL that an entry was obtained from. May be empty.
	Upstream string
	// AppID keeps two apps with the same secret apart. May be empty.
	AppID string
	// Scope keeps the grants of one app apart. May be empty.
	Scope string
	// Purges has the purges of the app. Nil: nothing can be purged.
	Purges *Purges
}

// material is key material, which must never be printed. It is a pointer, so that a struct with an
// unexported field of this type prints an address. It points to a string: with verbs that are not
// for pointers, such as %s, fmt prints the content of a slice or an array behind a pointer, but
// only the address of a string.
type material *string

func hide(b [sha256.Size]byte) material { s := string(b[:]); return &s }

// Keys derives the keys of entries from tokens. Safe for concurrent use.
type Keys struct {
	pepper  material // the pepper before any purge of everything
	purges  *Purges
	current *atomic.Pointer[generation]
}

// generation derives keys from one pepper. Each purge of everything begins a new generation with
// another pepper.
type generation struct {
	ids     *macs // a token's HMAC is its ID
	secrets *macs // a token's HMAC seals its entry
	number  int64 // of the purge that began this generation; zero: the first generation
}

// NewKeys derives the pepper with HKDF from the secret and the other options, except Purges. In the
// info of HKDF, each option is preceded by its length, so that different options never have the
// same encoding.
func NewKeys(o KeysOptions) (*Keys, error) {
	if len(o.Secret) == 0 {
		return nil, errors.New("cache keys: the secret is empty; give the client secret or cache.key_file")
	}
	var info []byte
	for _, part := range []string{labelPepper, o.Service, o.Upstream, o.AppID, o.Scope} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(part)))
		info = append(info, part...)
	}
	pepper, err := hkdf.Key(sha256.New, o.Secret, nil, string(info), sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("cache keys: %w", err)
	}
	k := &Keys{pepper: hide([sha256.Size]byte(pepper)), purges: o.Purges, current: new(atomic.Pointer[generation])}
	k.current.Store(newGeneration(pepper, 0))
	return k, nil
}

// Format prints a fixed text, and nothing of the pepper.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[keys]") }

// Key gives one token's entry its name and its seal. It prints as its ID.
type Key struct {
	id     ID
	secret material // the AES-256 key of the entry; nil in a key from Glance
	token  ID       // the token's name in marks.tokens, which a purge of this token alone does not change
	purges *Purges  // nil: the key cannot be purged
	marks  *marks   // the app's purges that were known when the key was derived
}

// Derive returns the key of a token. It is a pure function of the pepper, the purges and the token.
func (k *Keys) Derive(token string) Key {
	b := []byte(token)
	g, key := k.glance(b)
	key.secret = hide(g.secrets.sum(b, key.marks.tokens[key.token]))
	return key
}

// Glance derives a key that is enough for Peek, but can neither seal nor open. It does not allocate
// unless this single token was purged.
func (k *Keys) Glance(token []byte) Key {
	_, key := k.glance(token)
	return key
}

func (k *Keys) glance(token []byte) (*generation, Key) {
	marks := k.purges.current()
	g := k.generation(marks.all)
	id := g.ids.sum(token, 0)
	key := Key{id: id, token: id, purges: k.purges, marks: marks}
	if number := marks.tokens[id]; number > 0 {
		key.id = g.ids.sum(token, number)
	}
	return g, key
}

// generation returns the generation that began when everything was purged. number is the number of
// that purge; zero stands for the first generation.
func (k *Keys) generation(number int64) *generation {
	g := k.current.Load()
	if g.number == number {
		return g
	}
	pepper := []byte(*k.pepper)
	if number > 0 {
		pepper = expand(pepper, labelPurge+strconv.FormatInt(number, 10))
	}
	g = newGeneration(pepper, number)
	k.current.Store(g) // if a concurrent call stores an older generation, the next call derives this one again
	return g
}

func newGeneration(pepper []byte, number int64) *generation {
	return &generation{newMACs(expand(pepper, labelID)), newMACs(expand(pepper, labelSeal)), number}
}

// expand returns 32 bytes of HKDF-Expand.
func expand(key []byte, label string) []byte {
	b, err := hkdf.Expand(sha256.New, key, label, sha256.Size)
	if err != nil {
		panic("cache: " + err.Error()) // HKDF only fails for more than 255 hashes
	}
	return b
}

// purged reports whether the token was purged after the key was derived.
func (k Key) purged() bool {
	now := k.purges.current()
	return now != k.marks && k.purges != nil && (now.all != k.marks.all || now.tokens[k.token] != k.marks.tokens[k.token])
}

// macs computes HMAC-SHA-256 (RFC 2104) under one key. It keeps keyed hashes in a pool, because
// crypto/hmac prepares each key on the heap.
type macs struct{ pool sync.Pool }

// mac is a keyed hash, with room for its result.
type mac struct {
	hash.Hash
	result [sha256.Size]byte
}

func newMACs(key []byte) *macs {
	return &macs{sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}
}

// sum returns the HMAC of a token. number is the number of the last purge of this single token, or
// zero. If it is not zero, a zero byte and the number are hashed after the token. A token that
// consists of the purged token and these bytes has the same HMAC, but only a client that knows the
// purged token can send it.
func (m *macs) sum(token []byte, number int64) [sha256.Size]byte {
	h := m.pool.Get().(*mac)
	defer m.pool.Put(h)
	h.Reset()
	_, _ = h.Write(token)
	if number > 0 {
		_, _ = h.Write(binary.BigEndian.AppendUint64([]byte{0}, uint64(number)))
	}
	h.Sum(h.result[:0])
	defer clear(h.result[:])
	return h.result
}

// ID returns the name of the entry.
func (k Key) ID() ID { return k.id }

// Format prints the ID, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.id.String()) }

// LogValue returns the ID.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.id.String()) }

// MarshalText returns the ID.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.id.String()), nil }
