// Package signature checks what Meta signs with an app's secret: webhooks and signed requests. It
// keeps nothing that it reads, and imports no other package of igproxy.
package signature

import (
	"crypto/hmac"
	"crypto/sha1" // for X-Hub-Signature, which Meta still sends
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"strings"
)

// MaxWebhook bounds the size of the body of a webhook, in bytes.
const MaxWebhook = 3 << 20

// The reasons why a webhook cannot be checked.
var (
	// ErrMissing means that there is no signature.
	ErrMissing = errors.New("no signature")
	// ErrMalformed means that the header was sent more than once, or that its value is malformed.
	ErrMalformed = errors.New("a malformed signature")
	// ErrTooLarge means that the body is larger than MaxWebhook.
	ErrTooLarge = errors.New("a body of more than 3 MiB")
)

// Webhook is the signature of a webhook. If it is genuine, it is the HMAC of the body under one of
// the app's secrets.
type Webhook struct {
	mac  []byte
	hash func() hash.Hash
}

// ReadWebhook reads the header fields X-Hub-Signature-256 (sha256=HEX) and X-Hub-Signature
// (sha1=HEX) of a webhook. The SHA-1 field counts only if the SHA-256 field was not sent. A single
// empty field counts as not sent, because an app may forward a field that it did not receive.
func ReadWebhook(sha256Fields, sha1Fields []string) (Webhook, error) {
	if isSent(sha256Fields) {
		return readField(sha256Fields, "sha256=", sha256.New)
	}
	if isSent(sha1Fields) {
		return readField(sha1Fields, "sha1=", sha1.New)
	}
	return Webhook{}, ErrMissing
}

func isSent(fields []string) bool { return len(fields) > 1 || len(fields) == 1 && fields[0] != "" }

func readField(fields []string, algorithm string, hash func() hash.Hash) (Webhook, error) {
	digits, ok := strings.CutPrefix(fields[0], algorithm)
	mac, err := hex.DecodeString(digits)
	if len(fields) > 1 || !ok || err != nil || len(mac) != hash().Size() {
		return Webhook{}, ErrMalformed
	}
	return Webhook{mac, hash}, nil
}

// chunk is how many bytes of a body are in memory at a time.
const chunk = 8 << 10

// IsSigned reads a body and reports whether it was signed with one of the secrets. The time that
// this takes does not show which secret was used. IsSigned fails with ErrTooLarge if the body is
// longer than MaxWebhook, or with the error of body.Read.
func (w Webhook) IsSigned(body io.Reader, secrets []string) (bool, error) {
	macs, writers := make([]hash.Hash, len(secrets)), make([]io.Writer, len(secrets))
	for i, secret := range secrets {
		macs[i] = hmac.New(w.hash, []byte(secret))
		writers[i] = macs[i]
	}
	n, err := io.CopyBuffer(io.MultiWriter(writers...), io.LimitReader(body, MaxWebhook+1), make([]byte, chunk))
	switch {
	case err != nil:
		return false, err
	case n > MaxWebhook:
		return false, ErrTooLarge
	}
	return isOneOf(w.mac, macs), nil
}

// isOneOf reports whether mac is one of macs. It compares all of them even after a match, so that
// the time does not show which one matched.
func isOneOf(mac []byte, macs []hash.Hash) (found bool) {
	for _, one := range macs {
		if hmac.Equal(mac, one.Sum(nil)) {
			found = true
		}
	}
	return found
}
