package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

func TestTheListsOfRestartKeysAndLiveKeysNameOnlyRealKeys(t *testing.T) {
	for _, k := range slices.Concat(restartKeys, liveKeys) {
		if !slices.ContainsFunc(settings(), func(s setting) bool { return s.key == k || strings.HasSuffix(k, ".") && strings.HasPrefix(s.key, k) }) {
			t.Errorf("%s is not a key", k)
		}
	}
	for key, want := range map[string]bool{"listen": true, "listening": false, "redis.url": true, "server.drain": false, "server.read_timeout": true, "upstream.url": false} {
		if needsRestart(key) != want {
			t.Errorf("%s needs a restart: %v, want %v", key, !want, want)
		}
	}
}

// Every key either changes or waits for a restart, and a key that waits keeps its value.
func TestADifferenceInAnyKeyIsFound(t *testing.T) {
	for _, s := range settings() {
		running, next := Default(), Default()
		v := s.field(&next)
		switch v.Interface().(type) {
		case proxy.Secret:
			v.Set(reflect.ValueOf(proxy.NewSecret("another")))
		case []string:
			v.Set(reflect.ValueOf([]string{"another"}))
		case string:
			v.SetString("another")
		case bool:
			v.SetBool(!v.Bool())
		case int, int64, time.Duration:
			v.SetInt(v.Int() + 1)
		case float64:
			v.SetFloat(v.Float() / 2)
		default:
			t.Fatalf("%s has a type that this test cannot change", s.key)
		}
		if got := differences(running, next); !slices.Equal(got, []string{s.key}) {
			t.Errorf("a difference in %s: got the keys %v, want only this key", s.key, got)
		}
		kept := next.keep(running)
		switch want := needsRestart(s.key) || s.key == "tls.cert_file"; {
		case want != slices.Contains(kept, s.key), want != s.equal(&running, &next):
			t.Errorf("%s: waits for a restart: %v, keeps the running value: %v; want both %v", s.key, slices.Contains(kept, s.key), s.equal(&running, &next), want)
		}
	}
}

func TestTheUpstreamTimeoutWaitsForARestartWithTheKeysThatItNeeds(t *testing.T) {
	running, next := Default(), Default()
	next.Upstream.Timeout, next.Breaker.Interval, next.Passthrough.Timeout = 30*time.Second, 2*time.Minute, 90*time.Second
	next.Server.WriteTimeout = time.Minute
	kept := next.keep(running)
	l := newLoader(next)
	l.validateTimes()
	if !slices.Contains(kept, "upstream.timeout") || next.Upstream.Timeout != running.Upstream.Timeout || len(l.problems) > 0 {
		t.Errorf("keys that wait for a restart: %v, want upstream.timeout among them; its value is %s, want %s; problems: %v, want no problem", kept, next.Upstream.Timeout, running.Upstream.Timeout, l.problems)
	}
	fits := Default()
	fits.Upstream.Timeout = 9 * time.Second
	if kept := fits.keep(running); kept != nil || fits.Upstream.Timeout != 9*time.Second {
		t.Errorf("a timeout that fits: keys that wait for a restart: got %v, want no key; upstream.timeout: got %s, want 9s", kept, fits.Upstream.Timeout)
	}
}

// Only a restart turns TLS on, and a new client authority must wait for that restart. Otherwise it
// would count as authentication before TLS makes clients present a certificate.
func TestANewClientCAWaitsForTheRestartThatTurnsTLSOn(t *testing.T) {
	running, next := Default(), Default()
	next.TLS.CertFile, next.TLS.KeyFile, next.Auth.ClientCA = "/c", "/k", "/ca"
	if kept := next.keep(running); len(kept) != 3 || next.RequiresAuth() {
		t.Errorf("keys that wait for a restart: %v, want three; requires authentication: %v, want false", kept, next.RequiresAuth())
	}
	running.TLS.CertFile, running.TLS.KeyFile = "/c", "/k"
	next = running
	next.Auth.ClientCA = "/ca"
	if kept := next.keep(running); kept != nil || next.Auth.ClientCA != "/ca" {
		t.Errorf("with TLS on: keys that wait for a restart: got %v, want no key; auth.client_ca: got %q, want /ca", kept, next.Auth.ClientCA)
	}
}

func TestAChangeOfAnAppIsFound(t *testing.T) {
	running, next := Default(), Default()
	running.Apps = []App{{Name: "one", credentials: credentials{ClientSecret: proxy.NewSecret("a")}}}
	next.Apps = []App{{Name: "one", credentials: credentials{ClientSecret: proxy.NewSecret("b")}}}
	if got := differences(running, next); !slices.Equal(got, []string{"apps"}) {
		t.Errorf("got the keys %v, want only apps", got)
	}
}
