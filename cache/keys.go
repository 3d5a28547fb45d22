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
	"sync"
	"sync/atomic"
)

// HKDF labels (RFC 5869). A change of any of them makes every remembered entry unreachable.
const (
	labelPepper = "igproxy/v1/pepper"
	labelID     = "igproxy/v1/id"
	labelSeal   = "igproxy/v1/seal"
)

// ID names an entry. It is a keyed hash of the token: without the pepper nobody can tell whose it is, so it may be logged and stored.
type ID [sha256.Size]byte

// String is the ID in hex.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// KeysOptions say what entries are derived from. Entries of two different Options never meet.
type KeysOptions struct {
	// Secret is the client secret, or the content of the key file. Required.
	Secret []byte
	// AppID keeps two apps on one Redis apart. May be empty.
	AppID string
	// Scope keeps the grants of one app apart. May be empty.
	Scope string
	// Epoch is what was purged of the app. Nil: nothing ever is.
	Epoch *Epoch
}

// material is what nobody may see. It is behind a pointer, as a secret's text is, so that a struct which holds it in an unexported field
// shows an address; and it is a string, because fmt follows a pointer to a struct or a slice after all when a verb does not fit.
type material *string

func hide(b []byte) material { s := string(b); return &s }

// Keys derives the keys of entries from tokens. Safe for concurrent use.
type Keys struct {
	pepper material // before any purge
	epoch  *Epoch
	now    *atomic.Pointer[dated]
}

// dated is the pepper of an epoch, ready for use.
type dated struct {
	pool   *sync.Pool // of *derivation
	number uint64
}

// NewKeys derives the pepper: HKDF of the secret, with app id and scope, each led by its length so that no two pairs read the same.
func NewKeys(o KeysOptions) (*Keys, error) {
	if len(o.Secret) == 0 {
		return nil, errors.New("cache keys: the secret is empty; give the client secret or cache.key_file")
	}
	var info []byte
	for _, part := range []string{labelPepper, o.AppID, o.Scope} {
		info = binary.BigEndian.AppendUint32(info, uint32(len(part)))
		info = append(info, part...)
	}
	pepper, err := hkdf.Key(sha256.New, o.Secret, nil, string(info), sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("cache keys: %w", err)
	}
	k := &Keys{pepper: hide(pepper), epoch: o.Epoch, now: new(atomic.Pointer[dated])}
	k.now.Store(newDated(k.pepper, 0))
	return k, nil
}

// Format prints nothing of the pepper.
func (k Keys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[keys]") }

// Key is what one token's entry is found and sealed by. It prints as its ID.
type Key struct {
	id     ID
	prk    material
	of     *Epoch // nil: never purged
	number uint64 // of that epoch
}

// dated is the pepper of now.
func (k *Keys) dated() *dated {
	d := k.now.Load()
	if k.epoch == nil {
		return d
	}
	number := k.epoch.number.Load()
	if number == d.number {
		return d
	}
	pepper, err := k.epoch.pepper(k.pepper, number)
	if err != nil {
		panic("cache: " + err.Error()) // as in Derive
	}
	d = newDated(pepper, number)
	k.now.Store(d) // should another one of an older number come later, it is made anew
	return d
}

// Derive is a pure function of the pepper, the epoch and the token. The sealing key is derived only when Redis needs it.
func (k *Keys) Derive(token string) Key {
	now := k.dated()
	d := now.pool.Get().(*derivation)
	defer now.release(d)
	prk := d.extract([]byte(token))
	return Key{id: d.expand(), prk: hide(prk[:]), of: k.epoch, number: now.number}
}

// Glance derives what Peek needs, and nothing that seals, without allocating.
func (k *Keys) Glance(token []byte) Key {
	now := k.dated()
	d := now.pool.Get().(*derivation)
	defer now.release(d)
	d.extract(token)
	return Key{id: d.expand(), of: k.epoch, number: now.number}
}

func newDated(pepper material, number uint64) *dated {
	return &dated{&sync.Pool{New: func() any { return newDerivation([]byte(*pepper)) }}, number}
}

// release leaves nothing of a token behind.
func (d *dated) release(used *derivation) {
	clear(used.prk[:])
	clear(used.inner[:sha256.BlockSize])
	clear(used.outer[:])
	d.pool.Put(used)
}

// derivation is HKDF (RFC 5869) with what does not change prepared: the HMAC that is keyed with the pepper, and the label. crypto/hkdf
// prepares both anew each time, on the heap, which was a quarter of a hit. A test holds the two equal.
type derivation struct {
	pepper hash.Hash // HMAC-SHA-256
	prk    [sha256.Size]byte
	inner  [sha256.BlockSize + len(labelID) + 1]byte
	outer  [sha256.BlockSize + sha256.Size]byte
}

func newDerivation(pepper []byte) *derivation {
	d := &derivation{pepper: hmac.New(sha256.New, pepper)}
	copy(d.inner[sha256.BlockSize:], labelID+"\x01")
	return d
}

// extract is HKDF-Extract: HMAC of the token under the pepper, which is the salt.
func (d *derivation) extract(token []byte) *[sha256.Size]byte {
	d.pepper.Reset()
	d.pepper.Write(token)
	d.pepper.Sum(d.prk[:0])
	return &d.prk
}

// expand is the first block of HKDF-Expand: HMAC of label and counter under the extracted key. It is written out (RFC 2104), because
// crypto/hmac allocates for each new key; a key of 32 bytes is padded with zeros to a block.
func (d *derivation) expand() ID {
	const innerPad, outerPad = 0x36, 0x5c
	for i := range sha256.BlockSize {
		var b byte
		if i < len(d.prk) {
			b = d.prk[i]
		}
		d.inner[i], d.outer[i] = b^innerPad, b^outerPad
	}
	inner := sha256.Sum256(d.inner[:])
	copy(d.outer[sha256.BlockSize:], inner[:])
	return sha256.Sum256(d.outer[:])
}

// ID names the entry.
func (k Key) ID() ID { return k.id }

// Format prints the ID, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.id.String()) }

// LogValue is the ID.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.id.String()) }

// MarshalText is the ID.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.id.String()), nil }

// sealingKey is the AES-256 key of this entry.
func (k Key) sealingKey() ([]byte, error) {
	return hkdf.Expand(sha256.New, []byte(*k.prk), labelSeal, 32)
}
