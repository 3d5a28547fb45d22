package proxy

import (
	"slices"

	"github.com/igproxy/igproxy/proxy/graph"
)

// secretsToHide are those that an answer could repeat: the app's, and the one sent, which may be newer.
func (c call) secretsToHide() []Secret {
	if c.secret.IsZero() {
		return c.app.secrets
	}
	return append([]Secret{c.secret}, c.app.secrets...)
}

// repeatsSecret reports whether a text Contains a client secret.
func (c call) repeatsSecret(text string) bool {
	return slices.ContainsFunc(c.secretsToHide(), func(s Secret) bool { return graph.Contains(text, s.Reveal()) })
}

// scrubber replaces the client secrets and the token in texts of Instagram's, however they are spelled there. Secrets go first and by
// themselves: a token that ends as the secret begins could else take a piece of it away and leave the rest standing.
func (c call) scrubber() func(string) string {
	secrets, token := c.secretsToHide(), c.token.Reveal()
	return func(text string) string {
		for _, s := range secrets {
			text = graph.Replace(text, s.Reveal(), "[client secret]")
		}
		if len(token) >= minSecret { // shorter ones are no tokens, and would tear up the sentence
			text = graph.Replace(text, token, "[access token]")
		}
		return text
	}
}
