package proxy

import (
	"slices"

	"github.com/igproxy/igproxy/proxy/graph"
)

// secretsToHide returns the client secrets that a response could repeat: those of the app, and the
// one that was sent. If a reload changes the secrets during a call, igproxy may send a new secret
// that is not in c.app.secrets.
func (c call) secretsToHide() []Secret {
	if c.secret.IsZero() {
		return c.app.secrets
	}
	return append([]Secret{c.secret}, c.app.secrets...)
}

// repeatsSecret reports whether a text contains a client secret in an encoding that
// graph.Contains detects.
func (c call) repeatsSecret(text string) bool {
	return slices.ContainsFunc(c.secretsToHide(), func(s Secret) bool { return graph.Contains(text, s.Reveal()) })
}

// scrubber returns a function that removes the client secrets and the token from Meta's texts; see
// graph.Replace. The function replaces the secrets first, because a token can end with the first
// characters of a secret. Replacing the token first could leave the rest of the secret readable.
func (c call) scrubber() func(string) string {
	return func(text string) string {
		for _, s := range c.secretsToHide() {
			text = graph.Replace(text, s.Reveal(), "[client secret]")
		}
		if token := c.token.Reveal(); len(token) >= minSecret { // a shorter text may be an ordinary word
			text = graph.Replace(text, token, "[access token]")
		}
		return text
	}
}
