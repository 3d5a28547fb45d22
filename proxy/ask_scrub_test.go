package proxy

import (
	"testing"
)

// callWith returns a call of an app with this secret.
func callWith(t testing.TB, secret, token string) call {
	t.Helper()
	c := callFor(t, token)
	c.app = &app{App: App{Label: "default"}, secrets: []Secret{NewSecret(secret)}, keys: c.app.keys, state: &appState{}}
	return c
}

// A token that is too short is not replaced, because it may be an ordinary word.
func TestSecretsAndTheTokenAreHiddenInMetasTexts(t *testing.T) {
	c := callWith(t, testSecret, "IGAAshort-lived")
	if got := c.scrubber()("see " + testSecret + " and IGAAshort-lived"); got != "see [client secret] and [access token]" {
		t.Errorf("got %q, want the secret and the token replaced", got)
	}
	if got := callWith(t, testSecret, "the").scrubber()("the token"); got != "the token" {
		t.Errorf("got %q, want the word \"the\" to stay", got)
	}
	if secret, other := c.repeatsSecret(`{"x":"`+testSecret+`"}`), c.repeatsSecret("nothing"); !secret || other {
		t.Errorf("repeatsSecret of a body with the secret: got %v, want true; of another body: got %v, want false", secret, other)
	}
}
