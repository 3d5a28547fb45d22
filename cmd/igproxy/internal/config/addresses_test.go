package config

import (
	"strings"
	"testing"
)

func TestAWarningGoesWithEveryAddressThatOthersReach(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:1": false, "localhost:1": false, "[::1]:1": false, "[::ffff:127.0.0.1]:1": false, "unix:/s": false,
		":1": true, "0.0.0.0:1": true, "[::]:1": true, "10.0.0.1:1": true, "igproxy.internal:1": true} {
		if got := beyondLoopback(address); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

func TestTwoListenersInEachOthersWay(t *testing.T) {
	for pair, want := range map[string]bool{
		"127.0.0.1:1 127.0.0.1:1": true, "localhost:1 127.0.0.1:1": true, "127.0.0.1:1 [::1]:1": false, ":1 127.0.0.1:1": true, "0.0.0.0:1 10.0.0.1:1": true,
		"127.0.0.1:1 127.0.0.1:2": false, "127.0.0.1:0 127.0.0.1:0": false, "127.0.0.1:01 127.0.0.1:1": true, "unix:/s unix:/s": true, "unix:/a/../s unix:/s": true,
		"unix:/s 127.0.0.1:1": false, "a:1 A:1": true,
	} {
		a, b, _ := strings.Cut(pair, " ")
		if sameAddress(a, b) != want || sameAddress(b, a) != want {
			t.Errorf("%s: got %v and %v, want %v", pair, sameAddress(a, b), sameAddress(b, a), want)
		}
	}
}
