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

const (
	tokenLength = 180 // characters of every issued token, except app tokens
	appRandom   = 27  // characters of an app token after its prefix, which ends with "|"
)

// letters replaces the two characters of base64url that Instagram writes as letters.
var letters = strings.NewReplacer("-", "ZA", "_", "ZD")

// newToken derives the nth token that is issued for short, which is a token, a code or an app's ID.
// The new token looks real. It does not contain short, with two exceptions: if short has fewer than
// 5 characters, the token may contain it by chance; and an app token has the app's ID in its
// prefix.
func newToken(key []byte, short, prefix string, n int) string {
	mac := hmac.New(sha256.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
	mac.Write([]byte(short))
	stream := mathrand.NewChaCha8([sha256.Size]byte(mac.Sum(nil)))
	length := tokenLength
	if strings.HasSuffix(prefix, "|") {
		length = len(prefix) + appRandom
	}
	raw := make([]byte, length)
	for {
		_, _ = stream.Read(raw) // never returns an error
		token := (prefix + letters.Replace(base64.RawURLEncoding.EncodeToString(raw)))[:length]
		if len(short) < 5 || strings.Contains(prefix, short) || !strings.Contains(token, short) {
			return token
		}
	}
}

// expiresIn returns the nth lifetime in seconds. It cycles through all values from 5183944 to
// 5184000, the range seen in Instagram's responses. It reaches all 57 values because 17 and 57 have
// no common factor.
func expiresIn(n int) int { return 5183944 + n*17%57 }

// traceID returns a random ID of the given length, like those in Instagram's headers and errors.
func traceID(characters int) string {
	raw := make([]byte, characters)
	_, _ = rand.Read(raw) // never returns an error
	return letters.Replace(base64.RawURLEncoding.EncodeToString(raw))[:characters]
}
