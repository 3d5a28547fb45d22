package mock

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	mathrand "math/rand/v2"
	"strings"
)

// tokenLength is how long a token is.
const tokenLength = 180

// Instagram writes the two odd characters of base64url as letters.
var letters = strings.NewReplacer("-", "ZA", "_", "ZD")

// newToken makes the nth token for a token or code that came. It looks real and never contains the other, unless that is so short that
// it is in every text (under 5 characters).
func newToken(key []byte, short, prefix string, n int) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	mac.Write([]byte(short))
	stream := mathrand.NewChaCha8([sha256.Size]byte(mac.Sum(nil)))
	raw := make([]byte, tokenLength)
	for {
		_, _ = stream.Read(raw) // never fails
		token := (prefix + letters.Replace(base64.RawURLEncoding.EncodeToString(raw)))[:tokenLength]
		if len(short) < 5 || !strings.Contains(token, short) {
			return token
		}
	}
}

// expiresIn goes once around all seconds from 5183944 to 5184000, the values seen of Instagram, and begins again. 17 and the 57 values
// have no common factor.
func expiresIn(n int) int { return 5183944 + n*17%57 }

// traceID is an id of so many characters, as Instagram puts them into headers and errors.
func traceID(characters int) string {
	raw := make([]byte, characters)
	_, _ = rand.Read(raw) // never fails
	return letters.Replace(base64.RawURLEncoding.EncodeToString(raw))[:characters]
}
