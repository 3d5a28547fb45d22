package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// No verb, logger or encoder prints a Secret or a Token, not even from an unexported field.
func TestNothingPrintsASecret(t *testing.T) {
	const text = "canary-0123456789"
	type holder struct {
		Open   Secret
		hidden Secret
		ptr    *Secret
		token  graph.Token
	}
	s := NewSecret(text)
	tok, err := graph.ReadToken([]byte(`{"access_token":"`+text+`","token_type":"bearer","expires_in":60}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h := holder{s, s, &s, tok}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%o", "%e", "%U", "%c"} {
		for _, v := range []any{s, &s, h, &h, []Secret{s}, map[string]Secret{"a": s}, tok, &tok, errors.Join(fmt.Errorf("with %v", s))} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("x", "secret", s, "holder", h, "pointer", &h, "token", tok, "group", slog.GroupValue(slog.Any("s", s)))
	}
	enc := json.NewEncoder(&out)
	_ = enc.Encode(h)
	_ = enc.Encode(map[string]any{"s": s, "t": tok})
	text2, _ := s.MarshalText()
	out.Write(text2)
	for _, form := range []string{text, fmt.Sprintf("%x", text), fmt.Sprintf("%X", text), fmt.Sprintf("%v", []byte(text))} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the secret was printed as %q", form)
		}
	}
	if s.Reveal() != text {
		t.Errorf("Reveal returned %q, want %q", s.Reveal(), text)
	}
	if zero, full := (Secret{}).IsZero(), NewSecret(text).IsZero(); !zero || full {
		t.Errorf("IsZero of the zero Secret: got %v, want true; IsZero of a Secret with a text: got %v, want false", zero, full)
	}
}
