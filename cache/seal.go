package cache

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"time"
)

// A sealed value is
//
//	version, 1 byte | AES-256-GCM(random nonce, entry's end in Unix milliseconds, 8 bytes | caller's bytes)
//
// with version, ID and sort as associated data, so that a failure never passes for a value. The seal is a device of correctness as much as of secrecy: a desynchronised connection to
// Redis hands out other users' replies without an error, and those don't open.
const (
	sealVersion = 1
	sealHeader  = 8
)

// sort is what is sealed. A value's is empty.
type sort string

const (
	sealedValue   sort = ""
	sealedFailure sort = "failure"
)

var (
	errUnsealed = errors.New("a stored value does not open")
	errPast     = errors.New("a stored value is past its end")
)

// aead is the cipher of one key. The key is used for one token's entry only, so that random nonces never come near their bound.
func (k Key) aead() (cipher.AEAD, error) {
	key, err := k.sealingKey()
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k Key) associated(s sort) []byte { return append(append([]byte{sealVersion}, k.id[:]...), s...) }

// seal closes an entry under its key.
func seal(k Key, s sort, e Entry) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, sealHeader+len(e.Value)), uint64(e.Expires.UnixMilli()))
	plain = append(plain, e.Value...)
	sealed := make([]byte, 1, 1+aead.Overhead()+len(plain))
	sealed[0] = sealVersion
	return aead.Seal(sealed, nil, plain, k.associated(s)), nil
}

// open is the inverse: errUnsealed unless this very key sealed these very bytes, errPast when the entry's end has come.
func open(k Key, s sort, sealed []byte, now time.Time) (Entry, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return Entry{}, errUnsealed
	}
	aead, err := k.aead()
	if err != nil {
		return Entry{}, err
	}
	plain, err := aead.Open(nil, nil, sealed[1:], k.associated(s))
	if err != nil || len(plain) < sealHeader {
		return Entry{}, errUnsealed
	}
	e := Entry{Value: plain[sealHeader:], Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(plain)))}
	if !now.Before(e.Expires) {
		return Entry{}, errPast
	}
	return e, nil
}
