package sidecar

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/proxy"
)

// reloading is a reloader of a real file. It records each configuration that it applies.
type reloading struct {
	*reloader
	log     bytes.Buffer
	applied []config.Config
	refuse  error // what apply returns
}

func newReloading(t *testing.T, path string) *reloading {
	t.Helper()
	n := &reloading{}
	load := func() (config.Config, []config.Problem) { return config.Load(path, withSecret) }
	conf, problems := load()
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	n.reloader = newReloader(Options{Config: conf, Path: path, Load: load, Log: &logging.Log{}}, proxy.NewMetrics(), func(c config.Config) error {
		if n.refuse == nil {
			n.applied = append(n.applied, c)
		}
		return n.refuse
	})
	n.reloader.log = slog.New(slog.NewTextHandler(&n.log, nil))
	return n
}

// put writes a file and sets its modification time to the simulated time minus ago.
func put(t *testing.T, path, text string, ago time.Duration) {
	t.Helper()
	write(t, path, text)
	at := time.Now().Add(-ago)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

// pass lets time pass until the reloader has looked at the files the given number of times.
func (n *reloading) pass(looks int) {
	for range looks {
		time.Sleep(config.LookEvery)
		n.follow()
	}
}

func TestAConfigurationFileIsReloadedWhenItHasStoppedChanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, "c", "cache:\n  ttl: 10m\n", time.Hour)
		n := newReloading(t, "c")
		n.pass(10)
		if len(n.applied) > 0 {
			t.Errorf("an unchanged file: applied %d times, want 0", len(n.applied))
		}
		for i := range 3 { // the file is being written
			put(t, "c", "cache:\n  ttl: 20m\n"+strings.Repeat("#", i), 0)
			n.pass(1)
		}
		if len(n.applied) > 0 {
			t.Errorf("a file that is being written: applied %d times, want 0", len(n.applied))
		}
		n.pass(1)
		if len(n.applied) != 1 || n.applied[0].Cache.TTL != 20*time.Minute || n.conf().Cache.TTL != 20*time.Minute {
			t.Errorf("applied %d times, want 1; cache.ttl is %s, want 20m", len(n.applied), n.conf().Cache.TTL)
		}
		// The new contents have the size and the modification time of the old ones, as after two
		// writes within one tick of the file system's clock.
		put(t, "c", "cache:\n  ttl: 30m\n"+strings.Repeat("#", 2), 2*time.Second)
		n.pass(1)
		n.pass(1)
		if n.conf().Cache.TTL != 30*time.Minute {
			t.Errorf("cache.ttl is %s, want 30m", n.conf().Cache.TTL)
		}
		n.pass(10)
		if len(n.applied) != 2 || strings.Count(n.log.String(), "configuration reloaded") != 2 {
			t.Errorf("applied %d times, want 2; the log must report both reloads: %s", len(n.applied), n.log.String())
		}
	})
}

func TestAConfigurationThatCannotBeUsedIsLoggedOnceAndRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, "c", "", time.Hour)
		n := newReloading(t, "c")
		put(t, "c", "cache:\n  ttl: 10\n", time.Minute)
		n.pass(20)
		if len(n.applied) > 0 || strings.Count(n.log.String(), "reload failed") != 1 || !strings.Contains(n.log.String(), "where=c:2 key=cache.ttl") {
			t.Errorf("a broken file: applied %d times, want 0; the log must report it once: %s", len(n.applied), n.log.String())
		}
		n.refuse = errors.New("it cannot be applied")
		put(t, "c", "cache:\n  ttl: 10m\n", time.Minute)
		n.pass(20)
		if strings.Count(n.log.String(), "reload failed") != 2 || !strings.Contains(n.log.String(), "it cannot be applied") {
			t.Errorf("a configuration that cannot be applied: the log must report it once: %s", n.log.String())
		}
		n.refuse = nil // the file stays the same
		n.pass(2)
		if len(n.applied) != 1 || n.conf().Cache.TTL != 10*time.Minute {
			t.Errorf("applied %d times, want 1; cache.ttl is %s, want 10m", len(n.applied), n.conf().Cache.TTL)
		}
	})
}

func TestEachReloadNamesWhatNeedsARestart(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "c", "server:\n  max_connections: 10\n")
	n := newReloading(t, "c")
	write(t, "c", "server:\n  max_connections: 11\n  drain: 7s\n")
	for i, changed := range [][]string{{"server.drain"}, {}} {
		response := n.reload()
		if !response.Reloaded || !slices.Equal(response.Changed, changed) || !slices.Equal(response.NeedsRestart, []string{"server.max_connections"}) {
			t.Errorf("reload %d: got %+v, want the changed keys %v, and server.max_connections waiting for a restart", i+1, response, changed)
		}
	}
	if c := n.conf(); c.Server.MaxConnections != 10 || c.Server.Drain != 7*time.Second {
		t.Errorf("server.max_connections is %d, want 10; server.drain is %s, want 7s", c.Server.MaxConnections, c.Server.Drain)
	}
	write(t, "c", "server:\n  max_connections: 10\n  drain: 7s\n")
	if response := n.reload(); len(response.NeedsRestart)+len(response.Changed) > 0 {
		t.Errorf("after server.max_connections was changed back: got %+v, want no key", response)
	}
}

func TestAChangedUpstreamCAFileIsReloaded(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "ca", newPair(t, "one").cert)
	write(t, "c", "upstream:\n  ca_file: ./ca\n")
	n := newReloading(t, "c")
	write(t, "ca", newPair(t, "two").cert)
	if response := n.reload(); !slices.Equal(response.Changed, []string{"upstream.ca_file"}) || len(n.applied) != 1 {
		t.Errorf("got %+v, want upstream.ca_file as the only changed key; applied %d configurations, want 1", response, len(n.applied))
	}
	if response := n.reload(); len(response.Changed) > 0 {
		t.Errorf("a second reload without a change: got %+v, want no changed key", response)
	}
}

// The code that uses a certificate, a token or a password reads the file again by itself, without a
// reload. If the new contents cannot be used, igproxy may continue with the previous contents. But
// a restart would fail, so igproxy must report the file.
func TestAFileThatCannotBeUsedIsReportedAsARefusedReload(t *testing.T) {
	one, two := newPair(t, "one"), newPair(t, "two")
	for name, c := range map[string]struct{ settings, file, good, other, bad string }{
		"bearer_file":    {"auth:\n  bearer_file: ./f\n", "f", "0123456789abcdef", "0123456789abcdeg", "short"},
		"token_file":     {"admin:\n  token_file: ./f\n", "f", "0123456789abcdef", "0123456789abcdeg", "short"},
		"cert_file":      {"tls:\n  cert_file: ./f\n  key_file: ./k\n", "f", one.cert, one.cert + one.cert, two.cert},
		"key_file":       {"tls:\n  cert_file: ./c1\n  key_file: ./f\n", "f", one.key, one.key + "\n", two.key},
		"client_ca":      {"tls:\n  cert_file: ./c1\n  key_file: ./k\nauth:\n  client_ca: ./f\n", "f", one.cert, two.cert, "none"},
		"password_file":  {"redis:\n  mode: single\n  url: redis://127.0.0.1:1\n  password_file: ./f\n", "f", "pw", "pw2", ""},
		"redis.key_file": {"redis:\n  mode: single\n  url: rediss://127.0.0.1:1\n  cert_file: ./c1\n  key_file: ./f\n", "f", one.key, one.key + "\n", two.key},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				t.Chdir(t.TempDir())
				put(t, "c", c.settings, time.Hour)
				put(t, "k", one.key, time.Hour)
				put(t, "c1", one.cert, time.Hour)
				put(t, c.file, c.good, time.Hour)
				n := newReloading(t, "c")
				n.pass(3)
				put(t, c.file, c.other, time.Minute)
				n.pass(3)
				if len(n.applied) > 0 || n.log.Len() > 0 {
					t.Errorf("a new file that can be used: applied %d times, want 0; got the log %q, want no line", len(n.applied), n.log.String())
				}
				put(t, c.file, c.bad, 30*time.Second)
				n.pass(3)
				if text := n.log.String(); strings.Count(text, "reload failed") != 1 || len(n.refused) == 0 || !strings.Contains(text, "key=") {
					t.Errorf("a file that cannot be used: got the problems %q and the log %s, want one refused reload that names a key", n.refused, text)
				}
				put(t, c.file, c.good, 20*time.Second)
				n.pass(3)
				if len(n.refused) > 0 {
					t.Errorf("after the file can be used again: got the problems %q, want no problem; the log: %s", n.refused, n.log.String())
				}
			})
		})
	}
}
