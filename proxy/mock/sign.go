package mock

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Meta still sends this signature next to the newer one
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// SignWebhook returns the headers that Meta sends with this body of a webhook: the content type
// and the signatures with SHA-1 and SHA-256.
func SignWebhook(secret string, body []byte) http.Header {
	old := hmac.New(sha1.New, []byte(secret))
	old.Write(body)
	h := http.Header{}
	h.Set("Content-Type", "application/json")
	h.Set("X-Hub-Signature", "sha1="+hex.EncodeToString(old.Sum(nil)))
	h.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac256(secret, body)))
	return h
}

// SignedRequest returns the signed_request that Meta sends to the deauthorize and data-deletion
// callbacks. The payload is a JSON object.
func SignedRequest(secret string, payload []byte) string {
	text := base64.RawURLEncoding.EncodeToString(payload)
	return base64.RawURLEncoding.EncodeToString(mac256(secret, []byte(text))) + "." + text
}

// Deauthorization returns the payload of a signed request about a user.
func Deauthorization(user string) []byte {
	return fmt.Appendf(nil, `{"algorithm":"HMAC-SHA256","issued_at":%d,"user_id":%s}`, time.Now().Unix(), quoted(user))
}

// Webhook returns the body of a webhook about a comment. As in Meta's webhooks, slashes and
// non-ASCII characters are escaped. An app that parses and re-encodes the body changes these
// escapes, and the signature no longer matches.
func Webhook() []byte {
	return fmt.Appendf(nil, `{"object":"instagram","entry":[{"id":"%s","time":%d,"changes":[{"field":"comments","value":`+
		`{"id":"17900000000000007","from":{"id":"17841400000000002","username":"ben.caf\u00e9"},"text":%s,`+
		`"media":{"id":"17900000000000001","media_product_type":"FEED"}}}]}]}`,
		instagramFamily.user, time.Now().Unix(), quoted("Crêpes ☕ 🥞 https://example.com/menu"))
}
