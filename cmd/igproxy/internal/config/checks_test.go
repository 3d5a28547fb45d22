package config

import (
	"strings"
	"testing"
)

func TestAHostWithASchemeIsNotTakenForOneWithAPort(t *testing.T) {
	f := checkHost("http://igproxy")
	if want := `"http://igproxy" is not a host name`; f == nil || f.what != want {
		t.Errorf("got %v, want %s", f, want)
	}
}

func TestNamesHaveALongestLength(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		what  string
		most  int
		taken func(string) bool
	}{
		{"a host", 254, isHost},
		{"an app's name", 32, func(s string) bool { return checkAppName(s) == nil }},
		{"a name", 128, func(s string) bool { return checkName(s) == nil }},
		{"a prefix", 64, func(s string) bool { return checkPrefix(s) == nil }},
		{"an unknown key that is repeated", 48, func(s string) bool { return shownKey(s) != "" }},
	} {
		if !c.taken(long(c.most)) || c.taken(long(c.most+1)) || c.taken("") {
			t.Errorf("%s: the longest has not %d characters", c.what, c.most)
		}
	}
}
