package proxy

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every printer sees in place of a Secret's text.
const redacted = "[secret]"

// Secret holds a text that must never be printed: the app's client secret, a short-lived or a long-lived token.
//
// The text sits behind a pointer, so that a Secret in an unexported field of a struct somebody prints with %+v, where no method
// of ours is called, shows an address and not the text. The zero Secret is empty.
type Secret struct{ text *string }

// NewSecret wraps text; the caller drops its own copy.
func NewSecret(text string) Secret { return Secret{text: &text} }

// equal reports whether two secrets have the same text. It is for secrets of the configuration only: it takes longer the more they agree.
func (s Secret) equal(other Secret) bool { return s.Reveal() == other.Reveal() }

// Reveal returns the text. Call it at the last moment, where the text is sent or hashed.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no text.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String, GoString, Format, LogValue, MarshalText and MarshalJSON all answer the same constant, so no verb, logger or encoder prints the text.
func (s Secret) String() string { return redacted }

// GoString serves %#v.
func (s Secret) GoString() string { return redacted }

// Format serves every verb of package fmt, %x and %p included.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue serves log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText serves encoders that know encoding.TextMarshaler (YAML, XML, flag).
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON serves encoding/json.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
