package cache

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func keysOf(t testing.TB, secret, app, scope string) *Keys {
	t.Helper()
	k, err := NewKeys(KeysOptions{Secret: []byte(secret), AppID: app, Scope: scope})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func keyOf(t testing.TB, token string) Key { return keysOf(t, "secret", "app", "scope").Derive(token) }

func sealingKeyOf(t testing.TB, k Key) string {
	t.Helper()
	return hex.EncodeToString([]byte(*k.secret))
}

func TestSameTokenAlwaysGivesTheSameKey(t *testing.T) {
	a, b := keysOf(t, "secret", "app", "scope"), keysOf(t, "secret", "app", "scope")
	first, again, other := a.Derive("token"), a.Derive("token"), b.Derive("token")
	if first.ID() != again.ID() || first.ID() != other.ID() {
		t.Errorf("the IDs of one token: got %v, %v and %v, want the same ID each time", first, again, other)
	}
	if s := sealingKeyOf(t, first); s != sealingKeyOf(t, again) || s != sealingKeyOf(t, other) {
		t.Errorf("the sealing keys of one token: got %s, %s and %s, want the same key each time", s, sealingKeyOf(t, again), sealingKeyOf(t, other))
	}
	if first.ID().String() == sealingKeyOf(t, first) {
		t.Errorf("the ID and the sealing key: got %s for both, want different values", first.ID())
	}
}

// Different options must give different keys, even if the options are equal when they are
// concatenated.
func TestKeysOfDifferentOptionsOrTokensNeverCollide(t *testing.T) {
	type origin struct{ secret, app, scope, token string }
	seen := map[string]origin{}
	for _, o := range []origin{
		{"secret", "app", "scope", "token"},
		{"secret", "app", "scope", "token2"},
		{"secret", "app", "scope", ""},
		{"secret", "app", "", "token"},
		{"secret", "app", "", "scopetoken"},
		{"secret", "", "app", "token"},
		{"secret", "", "", "token"},
		{"secret", "ab", "c", "token"},
		{"secret", "a", "bc", "token"},
		{"secret", "abc", "", "token"},
		{"secret", "", "abc", "token"},
		{"secret", "a\x00\x00\x00\x01b", "", "token"},
		{"secret", "a", "b", "token"},
		{"secret", "a\x00", "b", "token"},
		{"secret", "a", "\x00b", "token"},
		{"secret2", "app", "scope", "token"},
		{"token", "app", "scope", "secret"},
		{"secre", "tapp", "scope", "token"},
	} {
		k := keysOf(t, o.secret, o.app, o.scope).Derive(o.token)
		for _, name := range []string{k.ID().String(), sealingKeyOf(t, k)} {
			if before, met := seen[name]; met {
				t.Errorf("%q: got the key %s, which %q has too; want another key", o, name, before)
			}
			seen[name] = o
		}
	}
}

// An accidental change of a label or of the encoding would make every entry in every Redis
// unreachable. The expected values were computed independently of this package, following RFC 5869,
// with Python's hmac and struct:
//
//	H = lambda k, m: hmac.new(k, m, sha256).digest()
//	parts = (b"igproxy/v2/pepper", service, upstream, app, scope)
//	info = b"".join(pack(">I", len(p)) + p for p in parts)
//	pepper = H(H(b"\0" * 32, secret), info + b"\x01")
//	id = H(H(pepper, b"igproxy/v2/id\x01"), token)
//	seal = H(H(pepper, b"igproxy/v2/seal\x01"), token)
func TestDerivedKeysAreTheSameInEveryRelease(t *testing.T) {
	keys, err := NewKeys(KeysOptions{Secret: []byte("known-answer-secret"), Service: "instagram", Upstream: "https://graph.instagram.com",
		AppID: "1234567890", Scope: "ig_exchange_token"})
	if err != nil {
		t.Fatal(err)
	}
	k := keys.Derive("IGAA-known-answer-token")
	for _, c := range []struct{ what, got, want string }{
		{"id", k.ID().String(), "6b2eb025c0af657771e480346cd8cf31347ec8a60a62774c49833631bb58bf2b"},
		{"sealing key", sealingKeyOf(t, k), "da96a0d324ca9bac173aeda15add19f3fd33b1be707fb1ea434266dfd17a01cc"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.what, c.got, c.want)
		}
	}
}

func pepperOf(t *testing.T, secret, app, scope string) []byte {
	t.Helper()
	var info []byte
	for _, part := range []string{labelPepper, "", "", app, scope} {
		info = append(binary.BigEndian.AppendUint32(info, uint32(len(part))), part...)
	}
	pepper, err := hkdf.Key(sha256.New, []byte(secret), nil, string(info), sha256.Size)
	if err != nil {
		t.Fatal(err)
	}
	return pepper
}

// One hash serves many tokens in turn, so what one token leaves in it must not change the key of
// the next token.
func TestDerivationEqualsHMACForEveryToken(t *testing.T) {
	keys := keysOf(t, "secret", "app", "scope")
	pepper := pepperOf(t, "secret", "app", "scope")
	under := func(label, token string) string {
		key, err := hkdf.Expand(sha256.New, pepper, label, sha256.Size)
		if err != nil {
			t.Fatal(err)
		}
		h := hmac.New(sha256.New, key)
		h.Write([]byte(token))
		return string(h.Sum(nil))
	}
	for n := range 300 {
		token := strings.Repeat("x", n) + strings.Repeat("IGAA", n%7)
		key, glance := keys.Derive(token), keys.Glance([]byte(token))
		if want := under(labelID, token); string(key.id[:]) != want || glance.id != key.id {
			t.Fatalf("a token of %d bytes: Derive returned the ID %s and Glance the ID %s, want %x from both", len(token), key.id, glance.id, want)
		}
		if want := under(labelSeal, token); string(*key.secret) != want || glance.secret != nil {
			t.Fatalf("a token of %d bytes: got the sealing key %x, want %x; Glance derived a sealing key: got %t, want false", len(token), *key.secret, want, glance.secret != nil)
		}
	}
}

// Entries of different origin have different keys, although one key file serves all origins, and
// even if the parts of two origins are equal when they are concatenated.
func TestEntriesOfDifferentOriginHaveDifferentKeys(t *testing.T) {
	seen := map[ID]KeysOptions{}
	for _, o := range []KeysOptions{
		{Service: "instagram", Upstream: "https://a", AppID: "1", Scope: "exchange"},
		{Service: "threads", Upstream: "https://a", AppID: "1", Scope: "exchange"},
		{Service: "instagram", Upstream: "https://b", AppID: "1", Scope: "exchange"},
		{Service: "instagram", Upstream: "https://a", AppID: "2", Scope: "exchange"},
		{Service: "instagram", Upstream: "https://a", AppID: "1", Scope: "refresh"},
		{Service: "instagram", Upstream: "https://a1", AppID: "", Scope: "exchange"},
		{Service: "", Upstream: "instagramhttps://a", AppID: "1", Scope: "exchange"},
		{Service: "instagram", Upstream: "https://a", AppID: "", Scope: "1exchange"},
	} {
		o.Secret = []byte("one key file")
		keys, err := NewKeys(o)
		if err != nil {
			t.Fatal(err)
		}
		id := keys.Derive("token").ID()
		if other, again := seen[id]; again {
			t.Errorf("%+v: got the ID %s, which %+v has too; want another ID", o, id, other)
		}
		seen[id] = o
	}
}

func TestKeysNeedASecret(t *testing.T) {
	for _, secret := range [][]byte{nil, {}} {
		if k, err := NewKeys(KeysOptions{Secret: secret, AppID: "app"}); err == nil || k != nil || !strings.Contains(err.Error(), "cache.key_file") {
			t.Errorf("got the keys %v, want nil; got the error %v, want one that names cache.key_file", k, err)
		}
	}
}

func TestNothingPrintsKeyMaterial(t *testing.T) {
	keys := keysOf(t, "canary-secret", "app", "scope")
	key := keys.Derive("canary-token")
	type holder struct {
		Key    Key
		Keys   *Keys
		Value  Keys
		hidden Key
		behind *Key
		keys   *Keys
		value  Keys
		list   []Key
		byName map[string]Key
	}
	h := holder{key, keys, *keys, key, &key, keys, *keys, []Key{key}, map[string]Key{"a": key}}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%e", "%t", "%p", "%T"} {
		for _, v := range []any{key, &key, keys, *keys, h, &h, []Key{key}, map[ID]Key{key.ID(): key}, []Keys{*keys}, errors.Join(fmt.Errorf("with %v", key))} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, handler := range []slog.Handler{slog.NewJSONHandler(&out, nil), slog.NewTextHandler(&out, nil)} {
		slog.New(handler).Info("x", "key", key, "pointer", &key, "keys", keys, "value", *keys, "holder", h, "behind", &h, "group", slog.GroupValue(slog.Any("key", key)))
	}
	for _, v := range []any{key, &key, keys, *keys, h, []any{key, keys}, map[string]any{"key": key, "keys": keys}} {
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Errorf("JSON of a %T: %v", v, err)
		}
	}

	printed := out.String()
	for name, material := range map[string][]byte{
		"secret": []byte("canary-secret"), "token": []byte("canary-token"), "pepper": pepperOf(t, "canary-secret", "app", "scope"), "sealing key": []byte(*key.secret),
	} {
		for _, form := range forms(material) {
			if strings.Contains(printed, form) {
				t.Errorf("the %s: got it printed as %q, want no part of it printed", name, form)
			}
		}
	}
	if want := key.ID().String(); fmt.Sprint(key) != want || !strings.Contains(printed, `"key":"`+want+`"`) {
		t.Errorf("a Key printed by fmt: got %v, want %s; the log has this ID: got %t, want true", key, want, strings.Contains(printed, `"key":"`+want+`"`))
	}
}

// forms returns the first bytes of material as the fmt verbs and JSON would show them.
func forms(material []byte) []string {
	head := material[:8]
	all := []string{string(head), strings.Trim(fmt.Sprintf("%q", head), `"`)}
	for _, verb := range []string{"%x", "%X", "% x", "%v", "%o", "%b", "%c", "%U"} {
		all = append(all, strings.Trim(fmt.Sprintf(verb, head), "[]"))
	}
	all = append(all, strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", head), "[]byte{"), "}"))
	base64, _ := json.Marshal(head[:6]) // six bytes, because base64 encodes groups of three
	return append(all, strings.Trim(string(base64), `"`))
}

func BenchmarkDerive(b *testing.B) {
	keys := keysOf(b, "secret", "app", "scope")
	token := strings.Repeat("IGAA", 45)
	b.ReportAllocs()
	for b.Loop() {
		keys.Derive(token)
	}
}

func BenchmarkGlance(b *testing.B) {
	keys := keysOf(b, "secret", "app", "scope")
	token := []byte(strings.Repeat("IGAA", 45))
	b.ReportAllocs()
	for b.Loop() {
		keys.Glance(token)
	}
}
