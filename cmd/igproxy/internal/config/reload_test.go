package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

func TestKeysThatNeedARestartExist(t *testing.T) {
	for _, k := range append(slices.Clone(restartKeys), liveKey) {
		if !slices.ContainsFunc(settings(), func(s setting) bool { return s.key == k || strings.HasSuffix(k, ".") && strings.HasPrefix(s.key, k) }) {
			t.Errorf("there is no %s", k)
		}
	}
	for key, want := range map[string]bool{"listen": true, "listening": false, "redis.url": true, "server.drain": false, "server.read_timeout": true, "upstream.url": false} {
		if needsRestart(key) != want {
			t.Errorf("%s needs a restart: %v, want %v", key, !want, want)
		}
	}
}

// Every key is either told as changed or as waiting, and what waits is as it was.
func TestADifferenceOfEveryKeyIsFoundAndWhatWaitsIsKept(t *testing.T) {
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
			t.Fatalf("%s has a type that this test does not know", s.key)
		}
		if got := differences(running, next); !slices.Equal(got, []string{s.key}) {
			t.Errorf("%s: got %v", s.key, got)
		}
		held := next.keep(running)
		switch wants := needsRestart(s.key) || s.key == "tls.cert_file"; {
		case wants != slices.Contains(held, s.key), wants != s.equal(&running, &next):
			t.Errorf("%s: held %v, as before %v; want %v", s.key, held, s.equal(&running, &next), wants)
		}
	}
}

func TestANewTimeoutWaitsWithWhatItMustFit(t *testing.T) {
	running, next := Default(), Default()
	next.Upstream.Timeout, next.Breaker.Interval, next.Passthrough.Timeout = 30*time.Second, 2*time.Minute, 90*time.Second
	next.Server.WriteTimeout = time.Minute
	held := next.keep(running)
	if !slices.Contains(held, "upstream.timeout") || next.Upstream.Timeout != running.Upstream.Timeout || len(next.contradictions()) > 0 {
		t.Errorf("held %v, and upstream.timeout is %s", held, next.Upstream.Timeout)
	}
	fits := Default()
	fits.Upstream.Timeout = 9 * time.Second
	if held := fits.keep(running); held != nil || fits.Upstream.Timeout != 9*time.Second {
		t.Errorf("held %v", held)
	}
}

// TLS is turned on or off with the listener, and so whom it believes goes with it: else a client authority without TLS would pass for a lock.
func TestClientAuthoritiesWaitWithTheTLSTheyNeed(t *testing.T) {
	running, next := Default(), Default()
	next.TLS.CertFile, next.TLS.KeyFile, next.Auth.ClientCA = "/c", "/k", "/ca"
	if held := next.keep(running); len(held) != 3 || next.AsksWho() {
		t.Errorf("held %v, asks who: %v", held, next.AsksWho())
	}
	running.TLS.CertFile, running.TLS.KeyFile = "/c", "/k"
	next = running
	next.Auth.ClientCA = "/ca"
	if held := next.keep(running); held != nil || next.Auth.ClientCA != "/ca" {
		t.Errorf("with TLS on: held %v", held)
	}
}

func TestDifferencesOfAppsAreToldByName(t *testing.T) {
	a := []App{{Name: "one", credentials: credentials{ClientSecret: proxy.NewSecret("a")}}, {Name: "two"}, {Name: "gone"}}
	b := []App{{Name: "two"}, {Name: "one", credentials: credentials{ClientSecret: proxy.NewSecret("b")}}, {Name: "new"}}
	if got := differentApps(a, b); !slices.Equal(got, []string{"apps.one", "apps.gone", "apps.new"}) {
		t.Errorf("got %v", got)
	}
	if got := differentApps(a, slices.Clone(a)); got != nil {
		t.Errorf("the same: got %v", got)
	}
}
