package signature_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/signature"
)

// signed returns a signed request, in Meta's form.
func signed(secret, payload string) string {
	second := base64.RawURLEncoding.EncodeToString([]byte(payload))
	return signPart(secret, second)
}

func signPart(secret, second string) string {
	return base64.RawURLEncoding.EncodeToString(mac(sha256.New, secret, second)) + "." + second
}

const payload = `{"user_id":17841400000000001,"algorithm":"HMAC-SHA256","issued_at":1764280000,"text":"\u00e4\/ ??>>"}`

func TestASignedRequestReturnsItsPayloadUnchanged(t *testing.T) {
	padded := base64.URLEncoding.EncodeToString([]byte(payload))
	for name, text := range map[string]string{
		"current":                   signed(current, payload),
		"previous":                  signed(previous, payload),
		"padded":                    base64.URLEncoding.EncodeToString(mac(sha256.New, current, padded)) + "." + padded,
		"only the signature padded": base64.URLEncoding.EncodeToString(mac(sha256.New, current, strings.TrimRight(padded, "="))) + "." + strings.TrimRight(padded, "="),
	} {
		got, err := signature.ReadRequest(text, []string{current, previous})
		if err != nil || string(got) != payload {
			t.Errorf("%s: payload: got %q, want %q; error: got %v, want nil", name, got, payload, err)
		}
	}
	for _, algorithm := range []string{"hmac-sha256", "Hmac-Sha256"} {
		text := `{"algorithm":"` + algorithm + `"}`
		if got, err := signature.ReadRequest(signed(current, text), []string{current}); err != nil || string(got) != text {
			t.Errorf("%s: payload: got %q, want %q; error: got %v, want nil", algorithm, got, text, err)
		}
	}
}

func TestASignedRequestIsReadStrictly(t *testing.T) {
	good := signed(current, payload)
	first, second, _ := strings.Cut(good, ".")
	standard := strings.NewReplacer("-", "+", "_", "/").Replace(good)
	if standard == good {
		t.Fatalf("got the example %q without - and _, want one that differs in standard base64", good)
	}
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":                      {"", signature.ErrForm},
		"a dot":                      {".", signature.ErrForm},
		"no dot":                     {first + second, signature.ErrForm},
		"two dots":                   {good + ".", signature.ErrForm},
		"three parts":                {good + "." + second, signature.ErrForm},
		"no signature":               {"." + second, signature.ErrForm},
		"no payload":                 {first + ".", signature.ErrUnsigned},
		"a short signature":          {first[:40] + "." + second, signature.ErrForm},
		"standard base64":            {standard, signature.ErrForm},
		"a space for a plus":         {strings.ReplaceAll(standard, "+", " "), signature.ErrForm},
		"a line break at the end":    {first + "." + second + "\n", signature.ErrForm},
		"a line break at the start":  {"\r\n" + good, signature.ErrForm},
		"too much padding":           {first + "." + second + "====", signature.ErrForm},
		"another secret":             {signed(another, payload), signature.ErrUnsigned},
		"another payload":            {first + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(payload, "1", "2", 1))), signature.ErrUnsigned},
		"the decoded payload signed": {base64.RawURLEncoding.EncodeToString(mac(sha256.New, current, payload)) + "." + second, signature.ErrUnsigned},
		"padded after signing":       {base64.RawURLEncoding.EncodeToString(mac(sha256.New, current, "eyJ9")) + ".eyJ9fQ==", signature.ErrUnsigned},
		"an array":                   {signed(current, `[{"algorithm":"HMAC-SHA256"}]`), signature.ErrPayload},
		"null":                       {signed(current, `null`), signature.ErrPayload},
		"text that is not JSON":      {signed(current, `HMAC-SHA256`), signature.ErrPayload},
		"two objects":                {signed(current, payload+payload), signature.ErrPayload},
		"half an object":             {signed(current, payload[:20]), signature.ErrPayload},
		"nested too deeply":          {signed(current, `{"a":`+strings.Repeat("[", 20000)+strings.Repeat("]", 20000)+`}`), signature.ErrPayload},
		"no algorithm":               {signed(current, `{"user_id":"1"}`), signature.ErrAlgorithm},
		"the algorithm none":         {signed(current, `{"algorithm":"none"}`), signature.ErrAlgorithm},
		"SHA-1":                      {signed(current, `{"algorithm":"HMAC-SHA1"}`), signature.ErrAlgorithm},
		"a number as algorithm":      {signed(current, `{"algorithm":256}`), signature.ErrAlgorithm},
		"null as algorithm":          {signed(current, `{"algorithm":null}`), signature.ErrAlgorithm},
		"the member Algorithm":       {signed(current, `{"Algorithm":"HMAC-SHA256"}`), signature.ErrAlgorithm},
	} {
		if got, err := signature.ReadRequest(c.text, []string{current, previous}); err != c.want || got != nil {
			t.Errorf("%s: got %q, error %v; want the error %v", name, got, err, c.want)
		}
	}
	if got, err := signature.ReadRequest(good, nil); err != signature.ErrUnsigned {
		t.Errorf("without a secret: got %q, error %v; want the error %v", got, err, signature.ErrUnsigned)
	}
}

// ReadRequest does not panic, whatever the text is. A text that was not signed with one of the
// secrets is not accepted. A signed payload is accepted if and only if it is a JSON object with the
// right algorithm. A signed request that was changed is accepted only if it still has the same
// payload. If the text is accepted as the second part of a signed request, ReadRequest returns the
// decoded text.
func FuzzSignedRequest(f *testing.F) {
	for _, seed := range []string{"", ".", payload, signed(another, payload), "e30.e30", `{"algorithm":"hmac-sha256"}`, `{"algorithm":"none"}`, `[]`, `null`, "a.b.c", "=.=",
		strings.Repeat("A", 43) + ".eyJhbGdvcml0aG0iOiJITUFDLVNIQTI1NiJ9", strings.Repeat("A", 43) + "=.e30=", "\n.\n", `{"algorithm":"HMAC-SHA256","algorithm":1}`} {
		f.Add(seed)
	}
	secrets := []string{previous, current}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := signature.ReadRequest(text, secrets); err == nil {
			t.Fatalf("the text %q, which was not signed: got the payload %q, want an error", text, got)
		}
		var members map[string]any
		numbers := json.NewDecoder(strings.NewReader(text))
		numbers.UseNumber() // so that a number too large for a float64 is not an error
		valid := json.Valid([]byte(text)) && numbers.Decode(&members) == nil && members != nil
		algorithm, _ := members["algorithm"].(string)
		valid = valid && strings.EqualFold(algorithm, "HMAC-SHA256")
		good := signed(current, text)
		if got, err := signature.ReadRequest(good, secrets); (err == nil) != valid || valid && string(got) != text {
			t.Fatalf("the signed payload %q: accepted: got %v (error %v), want %v; payload: got %q", text, err == nil, err, valid, got)
		}
		for _, changed := range []string{good + "A", good[1:], good[:len(good)-1], "B" + good[1:], strings.Replace(good, ".", ".A", 1), good + "=", good + "\n"} {
			if got, err := signature.ReadRequest(changed, secrets); err == nil && changed != good && string(got) != text {
				t.Fatalf("%q, changed from %q: got the payload %q, want %q or an error", changed, good, got, text)
			}
		}
		if got, err := signature.ReadRequest(signPart(current, text), secrets); err == nil {
			if again, ok := decodeEither(text); !ok || again != string(got) {
				t.Fatalf("the encoded payload %q is decoded as %q, want %q", text, got, again)
			}
		}
	})
}

func decodeEither(text string) (string, bool) {
	plain, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(text, "="))
	return string(plain), err == nil
}
