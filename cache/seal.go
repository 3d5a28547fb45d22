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
//	version (1 byte) | nonce (12 bytes) | AES-256-GCM(expiry (8 bytes) | the caller's bytes)
//
// The nonce is random. The expiry is in Unix milliseconds. Version, ID and kind are the associated
// data, so that a value of one kind is never accepted as a value of another kind. The seal protects
// correctness as well as secrecy. A connection to Redis that is out of step returns values of other
// users without an error, but such values cannot be decrypted.
const (
	sealVersion = 1
	sealHeader  = 8 // the length of the expiry
)

// sealKind is the kind of a sealed value.
type sealKind string

const (
	sealedValue      sealKind = ""        // an entry or a record
	sealedFailure    sealKind = "failure" // a failure that other processes get
	sealedMark       sealKind = "purge"   // a purge or a revocation
	sealedIndexValue sealKind = "index"   // what the index stores for an entry; see Key.indexValue
)

var (
	errCannotUnseal = errors.New("a stored value cannot be decrypted")
	errExpired      = errors.New("a stored value has expired")
)

// aead returns the cipher of a key. A key seals only a few values, such as the entries of one
// token, so it is very unlikely that a random nonce repeats.
func (k Key) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher([]byte(*k.secret))
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func (k Key) associated(kind sealKind) []byte {
	return append(append([]byte{sealVersion}, k.id[:]...), kind...)
}

// seal encrypts an entry under its key.
func seal(k Key, kind sealKind, e Entry) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	plain := binary.BigEndian.AppendUint64(make([]byte, 0, sealHeader+len(e.Value)), uint64(e.Expires.UnixMilli()))
	plain = append(plain, e.Value...)
	sealed := make([]byte, 1, 1+aead.Overhead()+len(plain))
	sealed[0] = sealVersion
	return aead.Seal(sealed, nil, plain, k.associated(kind)), nil
}

// open returns the entry that seal sealed. It returns errCannotUnseal unless this key sealed these
// bytes as this kind, and errExpired if the entry has expired.
func open(k Key, kind sealKind, sealed []byte, now time.Time) (Entry, error) {
	if len(sealed) == 0 || sealed[0] != sealVersion {
		return Entry{}, errCannotUnseal
	}
	aead, err := k.aead()
	if err != nil {
		return Entry{}, err
	}
	plain, err := aead.Open(nil, nil, sealed[1:], k.associated(kind))
	if err != nil || len(plain) < sealHeader {
		return Entry{}, errCannotUnseal
	}
	e := Entry{Value: plain[sealHeader:], Expires: time.UnixMilli(int64(binary.BigEndian.Uint64(plain)))}
	if !now.Before(e.Expires) {
		return Entry{}, errExpired
	}
	return e, nil
}
