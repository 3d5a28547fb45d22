package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// noon has no fraction of a millisecond, because a seal would lose it.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

func sealed(t testing.TB, k Key, e Entry) []byte {
	t.Helper()
	b, err := seal(k, sealedValue, e)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refuses checks that opening b fails with errCannotUnseal and returns nothing of the entry.
func refuses(t testing.TB, what string, k Key, b []byte) {
	t.Helper()
	e, err := open(k, sealedValue, b, noon)
	if !errors.Is(err, errCannotUnseal) || e.Value != nil || !e.Expires.IsZero() {
		t.Errorf("%s: got %q until %v, error %v; want nothing, and the error %v", what, e.Value, e.Expires, err, errCannotUnseal)
	}
}

func TestSealedEntryOpens(t *testing.T) {
	k := keyOf(t, "token")
	for _, value := range []string{"", "x", `{"access_token":"IGAA"}`, strings.Repeat("long", 4096), "\x00\xff\x00"} {
		in := Entry{Value: []byte(value), Expires: noon.Add(time.Hour)}
		out, err := open(k, sealedValue, sealed(t, k, in), noon)
		if err != nil || string(out.Value) != value || !out.Expires.Equal(in.Expires) {
			t.Errorf("got %.20q until %v, error %v; want %.20q until %v", out.Value, out.Expires, err, value, in.Expires)
		}
	}
}

func TestSealsOfOneEntryDiffer(t *testing.T) {
	k, e := keyOf(t, "token"), Entry{Value: []byte("value"), Expires: noon}
	seen := map[string]bool{}
	for range 100 {
		seen[string(sealed(t, k, e))] = true
	}
	if len(seen) != 100 {
		t.Errorf("100 seals gave %d different values, want 100", len(seen))
	}
}

func TestSealContainsNothingReadable(t *testing.T) {
	k, e := keyOf(t, "token"), Entry{Value: []byte("canary-value"), Expires: noon}
	b := sealed(t, k, e)
	id := k.ID()
	end := binary.BigEndian.AppendUint64(nil, uint64(noon.UnixMilli()))
	for _, readable := range [][]byte{e.Value[:6], id[:8], end} {
		if bytes.Contains(b, readable) {
			t.Errorf("%q is readable in the seal", readable)
		}
	}
}

func TestOpenRefusesEveryFlippedBit(t *testing.T) {
	k := keyOf(t, "token")
	b := sealed(t, k, Entry{Value: []byte(`{"access_token":"IGAA"}`), Expires: noon.Add(time.Hour)})
	for bit := range 8 * len(b) {
		changed := slices.Clone(b)
		changed[bit/8] ^= 1 << (bit % 8)
		refuses(t, fmt.Sprintf("bit %d", bit), k, changed)
	}
}

func TestOpenRefusesOtherLengths(t *testing.T) {
	k := keyOf(t, "token")
	b := sealed(t, k, Entry{Value: []byte("value"), Expires: noon.Add(time.Hour)})
	for n := range b {
		refuses(t, fmt.Sprintf("the first %d of %d bytes", n, len(b)), k, b[:n])
		refuses(t, fmt.Sprintf("without the first %d bytes", n+1), k, b[n+1:])
	}
	refuses(t, "a byte more", k, append(slices.Clone(b), 0))
	refuses(t, "twice", k, append(slices.Clone(b), b...))
	refuses(t, "nothing", k, nil)
}

func TestOpenRefusesOtherVersions(t *testing.T) {
	k := keyOf(t, "token")
	b := sealed(t, k, Entry{Value: []byte("value"), Expires: noon.Add(time.Hour)})
	if b[0] != sealVersion {
		t.Fatalf("a seal begins with %d, want its version, %d", b[0], sealVersion)
	}
	for v := range 256 {
		if b[0] = byte(v); v != sealVersion {
			refuses(t, fmt.Sprintf("version %d", v), k, b)
		}
	}
}

func TestOpenRefusesOtherKeys(t *testing.T) {
	k := keyOf(t, "token")
	b := sealed(t, k, Entry{Value: []byte("value"), Expires: noon.Add(time.Hour)})
	refuses(t, "another token", keyOf(t, "token2"), b)
	refuses(t, "another app", keysOf(t, "secret", "app2", "scope").Derive("token"), b)
	refuses(t, "another scope", keysOf(t, "secret", "app", "scope2").Derive("token"), b)
	refuses(t, "another secret", keysOf(t, "secret2", "app", "scope").Derive("token"), b)
	refuses(t, "the id of another entry with the right sealing key", Key{id: keyOf(t, "token2").id, secret: k.secret}, b)
	refuses(t, "the right id with another sealing key", Key{id: k.id, secret: keyOf(t, "token2").secret}, b)
}

// A value that this key sealed, but that is too short to contain an expiry, is refused as if
// another key had sealed it.
func TestOpenRefusesASealWithoutExpiry(t *testing.T) {
	k := keyOf(t, "token")
	aead, err := k.aead()
	if err != nil {
		t.Fatal(err)
	}
	for n := range sealHeader {
		refuses(t, fmt.Sprintf("%d bytes inside", n), k, aead.Seal([]byte{sealVersion}, nil, make([]byte, n), k.associated(sealedValue)))
	}
}

func TestOpenRefusesExpiredEntries(t *testing.T) {
	k := keyOf(t, "token")
	b := sealed(t, k, Entry{Value: []byte("value"), Expires: noon})
	for _, c := range []struct {
		now  time.Time
		want error
	}{
		{noon.Add(-time.Hour), nil}, {noon.Add(-time.Nanosecond), nil}, {noon, errExpired}, {noon.Add(time.Nanosecond), errExpired}, {noon.Add(time.Hour), errExpired},
	} {
		e, err := open(k, sealedValue, b, c.now)
		if !errors.Is(err, c.want) || (c.want != nil) != (e.Value == nil) {
			t.Errorf("opened at %v, expiry %v: got %q, error %v; want the error %v", c.now, noon, e.Value, err, c.want)
		}
	}
}

// FuzzSealOpen checks that a sealed entry opens to the same bytes and expiry, that a flipped bit is
// refused, and that arbitrary bytes are refused without a panic.
func FuzzSealOpen(f *testing.F) {
	f.Add("IGAA-token", []byte(`{"access_token":"IGAA"}`), int64(3600_000), uint(0))
	f.Add("", []byte{}, int64(1), uint(77))
	f.Add("t", []byte{sealVersion}, int64(0), uint(8))
	f.Add("t", bytes.Repeat([]byte{sealVersion, 0}, 40), int64(-1), uint(1<<20))
	f.Add("t", []byte("far"), int64(1)<<62, uint(9))
	keys := keysOf(f, "secret", "app", "scope")
	f.Fuzz(func(t *testing.T, token string, value []byte, left int64, bit uint) {
		k := keys.Derive(token)
		refuses(t, "arbitrary bytes", k, value)

		in := Entry{Value: value, Expires: time.UnixMilli(noon.UnixMilli() + left)}
		b := sealed(t, k, in)
		out, err := open(k, sealedValue, b, noon)
		switch {
		case !noon.Before(in.Expires):
			if !errors.Is(err, errExpired) {
				t.Errorf("expired %v ago: got %v, want %v", noon.Sub(in.Expires), err, errExpired)
			}
		case err != nil || !bytes.Equal(out.Value, value) || !out.Expires.Equal(in.Expires):
			t.Errorf("got %q until %v, error %v; want %q until %v", out.Value, out.Expires, err, value, in.Expires)
		}
		refuses(t, "another token's key", keys.Derive(token+"x"), b)
		b[bit/8%uint(len(b))] ^= 1 << (bit % 8)
		refuses(t, "a flipped bit", k, b)
	})
}

func benchmarkEntry(b *testing.B) (Key, Entry) {
	return keyOf(b, strings.Repeat("IGAA", 45)), Entry{Value: bytes.Repeat([]byte("x"), 256), Expires: noon.Add(time.Hour)}
}

func BenchmarkSeal(b *testing.B) {
	k, e := benchmarkEntry(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := seal(k, sealedValue, e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	k, e := benchmarkEntry(b)
	in := sealed(b, k, e)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := open(k, sealedValue, in, noon); err != nil {
			b.Fatal(err)
		}
	}
}
