package signature

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"hash"
	"strings"
)

// The reasons for refusing a signed request.
var (
	// ErrForm means that the text does not have the form of a signed request (see ReadRequest).
	ErrForm = errors.New("a malformed signed request")
	// ErrUnsigned means that the signed request was not signed with any of the secrets.
	ErrUnsigned = errors.New("signed with another secret")
	// ErrPayload means that the payload is not a JSON object.
	ErrPayload = errors.New("a payload that is not a JSON object")
	// ErrAlgorithm means that the payload does not name HMAC-SHA256 as the algorithm.
	ErrAlgorithm = errors.New("an algorithm other than HMAC-SHA256")
)

// ReadRequest returns the payload of a request that was signed with one of the secrets. A signed
// request is base64url(MAC) "." base64url(payload), with or without padding. The MAC is the
// HMAC-SHA256 of the second part as it was sent, before decoding. The payload is a JSON object with
// the member algorithm. ReadRequest parses the payload only if the MAC is correct.
func ReadRequest(text string, secrets []string) (payload []byte, err error) {
	first, second, ok := strings.Cut(text, ".")
	mac, macErr := decode(first)
	payload, payloadErr := decode(second)
	if !ok || macErr != nil || payloadErr != nil || len(mac) != sha256.Size {
		return nil, ErrForm
	}
	macs := make([]hash.Hash, len(secrets))
	for i, secret := range secrets {
		macs[i] = hmac.New(sha256.New, []byte(secret))
		_, _ = macs[i].Write([]byte(second)) // Write of a hash never fails
	}
	if !isOneOf(mac, macs) {
		return nil, ErrUnsigned
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil || members == nil { // Unmarshal accepts null
		return nil, ErrPayload
	}
	var algorithm string
	if json.Unmarshal(members["algorithm"], &algorithm) != nil || !strings.EqualFold(algorithm, "HMAC-SHA256") {
		return nil, ErrAlgorithm
	}
	return payload, nil
}

// decode decodes base64url strictly. It rejects line breaks, which package base64 would skip.
func decode(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, ErrForm
	}
	if strings.HasSuffix(text, "=") {
		return base64.URLEncoding.Strict().DecodeString(text)
	}
	return base64.RawURLEncoding.Strict().DecodeString(text)
}
