package config

import (
	"strings"
	"testing"
)

func TestNamesHaveAMaximumLength(t *testing.T) {
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		what     string
		most     int
		accepted func(string) bool
	}{
		{"a host", 254, isHost},
		{"an app's name", 32, func(s string) bool { return checkAppName(s) == nil }},
		{"a name", 128, func(s string) bool { return checkName(s) == nil }},
		{"a prefix", 64, func(s string) bool { return checkPrefix(s) == nil }},
		{"an unknown key that is shown", 48, looksLikeKey},
	} {
		if most, longer, empty := c.accepted(long(c.most)), c.accepted(long(c.most+1)), c.accepted(""); !most || longer || empty {
			t.Errorf("whether %s is accepted: with %d characters, got %v, want true; with %d, got %v, want false; with 0, got %v, want false",
				c.what, c.most, most, c.most+1, longer, empty)
		}
	}
}

func TestEveryAddressBeyondLoopbackIsRecognized(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:1": false, "localhost:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false, "unix:/s": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "10.0.0.1:1": true, "igproxy.internal:1": true} {
		if got := beyondLoopback(address); got != want {
			t.Errorf("%s is beyond loopback: got %v, want %v", address, got, want)
		}
	}
}
