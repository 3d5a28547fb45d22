package signature_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/igproxy/igproxy/proxy/signature"
)

const (
	current  = "0123456789abcdef0123456789abcdef"
	previous = "fedcba9876543210fedcba9876543210"
	another  = "the secret of another app"
)

func mac(hash func() hash.Hash, secret, text string) []byte {
	h := hmac.New(hash, []byte(secret))
	h.Write([]byte(text))
	return h.Sum(nil)
}

func sha256Field(secret, body string) string {
	return "sha256=" + hex.EncodeToString(mac(sha256.New, secret, body))
}

func sha1Field(secret, body string) string {
	return "sha1=" + hex.EncodeToString(mac(sha1.New, secret, body))
}

func TestAWebhookMustBeSignedWithOneOfTheSecrets(t *testing.T) {
	const escaped = `{"text":"\u00e4\u0040\/<"}`
	for name, body := range map[string]string{"json": `{"object":"instagram"}`, "escaped unicode": escaped, "empty": "", "binary": "\x00\xff\r\n", "large": strings.Repeat("x", signature.MaxWebhook)} {
		for _, c := range []struct {
			new, old []string
			want     bool
		}{
			{[]string{sha256Field(current, body)}, nil, true},
			{[]string{sha256Field(previous, body)}, nil, true},
			{[]string{"sha256=" + strings.ToUpper(strings.TrimPrefix(sha256Field(current, body), "sha256="))}, nil, true},
			{[]string{sha256Field(another, body)}, nil, false},
			{[]string{sha256Field(current, body+" ")}, nil, false},
			{nil, []string{sha1Field(current, body)}, true},
			{nil, []string{sha1Field(previous, body)}, true},
			{nil, []string{sha1Field(another, body)}, false},
			{[]string{""}, []string{sha1Field(current, body)}, true},
			{[]string{sha256Field(current, body)}, []string{sha1Field(another, body)}, true},
			{[]string{sha256Field(another, body)}, []string{sha1Field(current, body)}, false}, // SHA-256 decides
			{[]string{sha256Field(current, body)}, []string{"", ""}, true},
		} {
			w, err := signature.ReadWebhook(c.new, c.old)
			if err != nil {
				t.Fatalf("%s: fields %q and %q: got the error %v, want no error", name, c.new, c.old, err)
			}
			got, err := w.IsSigned(iotest.OneByteReader(strings.NewReader(body[:min(len(body), 100)])), nil)
			if got || err != nil {
				t.Errorf("%s: without a secret: signed is %v, error %v; want false and no error", name, got, err)
			}
			if got, err := w.IsSigned(strings.NewReader(body), []string{current, previous}); got != c.want || err != nil {
				t.Errorf("%s: fields %q and %q: signed is %v, error %v; want %v and no error", name, c.new, c.old, got, err, c.want)
			}
		}
	}
	// The same JSON in a different spelling is a different body.
	w, _ := signature.ReadWebhook([]string{sha256Field(current, escaped)}, nil)
	if got, _ := w.IsSigned(strings.NewReader(`{"text":"ä@/<"}`), []string{current}); got {
		t.Error("the same JSON in another spelling: signed is true, want false")
	}
}

// The MAC is the example in RFC 4231, section 4.3. The other tests compute their MACs themselves,
// so they could repeat a mistake of the package.
func TestAKnownMACIsAccepted(t *testing.T) {
	w, err := signature.ReadWebhook([]string{"sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"}, nil)
	if got, _ := w.IsSigned(strings.NewReader("what do ya want for nothing?"), []string{"Jefe"}); err != nil || !got {
		t.Errorf("signed is %v, error %v; want true and no error", got, err)
	}
}

func TestASignatureThatCannotBeReadIsRefused(t *testing.T) {
	good, old := sha256Field(current, "body"), sha1Field(current, "body")
	for name, c := range map[string]struct {
		new, old []string
		want     error
	}{
		"no field":                   {nil, nil, signature.ErrMissing},
		"empty":                      {[]string{""}, []string{""}, signature.ErrMissing},
		"twice":                      {[]string{good, good}, nil, signature.ErrMalformed},
		"empty and good":             {[]string{"", good}, nil, signature.ErrMalformed},
		"SHA-1 twice":                {nil, []string{old, old}, signature.ErrMalformed},
		"a list":                     {[]string{good + "," + good}, nil, signature.ErrMalformed},
		"no algorithm":               {[]string{strings.TrimPrefix(good, "sha256=")}, nil, signature.ErrMalformed},
		"another algorithm":          {[]string{"md5=" + strings.TrimPrefix(good, "sha256=")}, nil, signature.ErrMalformed},
		"SHA-1 in the newer field":   {[]string{old}, nil, signature.ErrMalformed},
		"SHA-256 in the older field": {nil, []string{good}, signature.ErrMalformed},
		"too short":                  {[]string{good[:len(good)-2]}, nil, signature.ErrMalformed},
		"too long":                   {[]string{good + "00"}, nil, signature.ErrMalformed},
		"half a byte":                {[]string{good + "0"}, nil, signature.ErrMalformed},
		"no digits":                  {[]string{"sha256="}, nil, signature.ErrMalformed},
		"not hex":                    {[]string{"sha256=" + strings.Repeat("zz", 32)}, nil, signature.ErrMalformed},
		"base64":                     {[]string{"sha256=W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM="}, nil, signature.ErrMalformed},
		"a space":                    {[]string{"sha256= " + strings.TrimPrefix(good, "sha256=")}, nil, signature.ErrMalformed},
		"no fallback to SHA-1":       {[]string{"sha256=x"}, []string{old}, signature.ErrMalformed},
	} {
		if w, err := signature.ReadWebhook(c.new, c.old); err != c.want {
			t.Errorf("%s: got %v, error %v; want the error %v", name, w, err, c.want)
		}
	}
}

func TestABodyIsBoundedAndItsReadErrorsAreReturned(t *testing.T) {
	body := strings.Repeat("x", signature.MaxWebhook+1)
	w, _ := signature.ReadWebhook([]string{sha256Field(current, body)}, nil)
	reader := &counting{r: io.MultiReader(strings.NewReader(body), strings.NewReader(body))}
	if got, err := w.IsSigned(reader, []string{current}); got || err != signature.ErrTooLarge || reader.n > signature.MaxWebhook+64<<10 {
		t.Errorf("signed: got %v, want false; error: got %v, want %v; bytes read: got %d, want at most %d", got, err, signature.ErrTooLarge, reader.n, signature.MaxWebhook+64<<10)
	}
	broken := errors.New("broken")
	if got, err := w.IsSigned(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), []string{current}); got || err != broken {
		t.Errorf("signed is %v, error %v; want false and the reader's error %v", got, err, broken)
	}
}

// counting is a reader that counts the bytes that were read.
type counting struct {
	r io.Reader
	n int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// A body is not kept: it is read in small pieces into one buffer.
func TestABodyIsReadInSmallPieces(t *testing.T) {
	w, _ := signature.ReadWebhook([]string{sha256Field(current, "x")}, nil)
	allocations := func(size int64) float64 {
		return testing.AllocsPerRun(10, func() { // several runs, because the runtime allocates too
			_, _ = w.IsSigned(io.LimitReader(zeros{t}, size), []string{current, previous})
		})
	}
	if small, large := allocations(100), allocations(signature.MaxWebhook); large > small {
		t.Errorf("a small body takes %v allocations, a large one %v; want no more for the large one", small, large)
	}
}

// zeros is an endless reader that fails the test if it is asked for more than 8 KiB at once.
type zeros struct{ t *testing.T }

func (z zeros) Read(p []byte) (int, error) {
	if len(p) > 8<<10 {
		z.t.Errorf("%d bytes are read at once, want at most 8 KiB", len(p))
	}
	clear(p)
	return len(p), nil
}

var (
	newForm = regexp.MustCompile(`^sha256=[0-9a-fA-F]{64}$`)
	oldForm = regexp.MustCompile(`^sha1=[0-9a-fA-F]{40}$`)
)

// ReadWebhook does not panic, whatever the header fields are. It accepts a field only if the field
// was sent once and has the documented form. It accepts the SHA-1 field only if the SHA-256 field
// was not sent.
func FuzzWebhookFields(f *testing.F) {
	const body = `{"object":"instagram"}`
	good, old := sha256Field(current, body), sha1Field(current, body)
	for _, seed := range [][2]string{{good, ""}, {"", old}, {good, old}, {sha256Field(another, body), old}, {"sha256=", old}, {good + "\n" + good, ""},
		{old, good}, {"\n", ""}, {"sha256=" + strings.Repeat("é", 32), ""}, {good + ", " + good, ""}, {"SHA256=" + good[7:], ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, newer, older string) { // each line is the value of one field
		fields := func(text string) []string {
			if text == "" {
				return nil
			}
			return strings.Split(text, "\n")
		}
		w, err := signature.ReadWebhook(fields(newer), fields(older))
		readable := newForm.MatchString(newer) || newer == "" && oldForm.MatchString(older)
		if (err == nil) != readable {
			t.Fatalf("fields %q and %q: accepted: got %v (error %v), want %v", newer, older, err == nil, err, readable)
		}
		if err != nil {
			return
		}
		signed, err := w.IsSigned(strings.NewReader(body), []string{previous, current})
		want := strings.EqualFold(newer, good) || newer == "" && strings.EqualFold(older, old)
		if signed != want || err != nil {
			t.Fatalf("fields %q and %q: signed is %v, error %v; want %v and no error", newer, older, signed, err, want)
		}
	})
}
