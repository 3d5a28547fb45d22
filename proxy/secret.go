package proxy

import (
	"fmt"
	"io"
)

// redacted is printed instead of a Secret's text.
const redacted = "[secret]"

// Secret holds a text that must never be printed: a client secret, a token or a code. The zero
// Secret is empty.
//
// The text is behind a pointer, because package fmt does not call the methods of a Secret in an
// unexported field. With the pointer, package fmt prints an address for such a field, not the text.
type Secret struct{ text *string }

// NewSecret wraps text. The caller should drop its own copy.
func NewSecret(text string) Secret { return Secret{text: &text} }

// equal reports whether two secrets have the same text. It does not run in constant time, so it is
// only for secrets from the configuration.
func (s Secret) equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// Reveal returns the text. Call it at the last moment, where the text is sent or hashed.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether the text is empty.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// Format prints a constant, even for %#v and %x. Package fmt does not call Format for %T and %p: %T
// prints the type, and %p prints the type and an address.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// String returns a constant.
func (s Secret) String() string { return redacted }

// MarshalText returns a constant. Encoders of JSON and YAML call it, and so does log/slog.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
