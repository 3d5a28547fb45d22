package config

import (
	"crypto/sha256"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// restartKeys are the keys, or sections with their dot, whose values are built into what runs:
// listeners, servers, connections to Redis, breakers, the bound on calls. A reload leaves them as
// they are, and says so. What the files of redis.* hold is another matter: a new password or
// certificate of Redis's is used from the next connection on.
var restartKeys = []string{"listen", "admin.listen", "auth.uids", "upstream.max_in_flight", "log.format", "server.", "redis.", "coalesce.", "breaker."}

// liveKey is what would fall under those and can be changed all the same.
const liveKey = "server.drain"

func needsRestart(key string) bool {
	return key != liveKey && slices.ContainsFunc(restartKeys, func(k string) bool {
		return key == k || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k)
	})
}

// valueOf is a setting's place in a Config.
func (s setting) valueOf(c *Config) reflect.Value { return reflect.ValueOf(s.field(c)).Elem() }

func (s setting) equal(a, b *Config) bool {
	return reflect.DeepEqual(s.valueOf(a).Interface(), s.valueOf(b).Interface()) // a Secret is looked at behind its pointer
}

// Snapshot is a configuration as it was read, with what the files that it names held.
type Snapshot struct {
	Config   Config
	Problems []Problem
	digests  map[string][sha256.Size]byte // of the files whose content Config does not hold, by key
}

// Snap completes what Load returned.
func Snap(c Config, problems []Problem) Snapshot {
	return Snapshot{Config: c, Problems: problems, digests: c.digests()}
}

// Failures are the problems that are not warnings, in one line each.
func (s Snapshot) Failures() (lines []string) {
	for _, p := range s.Problems {
		if !p.Warning {
			lines = append(lines, p.String())
		}
	}
	return lines
}

// Same reports whether two snapshots hold the same values and failures.
func (s Snapshot) Same(other Snapshot) bool {
	return reflect.DeepEqual(s.Config, other.Config) && reflect.DeepEqual(s.digests, other.digests) && // behind the pointers of Secrets, too
		slices.Equal(s.Failures(), other.Failures())
}

// Files are the paths that a change of the configuration can be found at, besides its own.
func (s Snapshot) Files() (paths []string) {
	for _, f := range s.Config.namedFiles() {
		if f.path != "" {
			paths = append(paths, f.path)
		}
	}
	return paths
}

// Merge returns what can be used of a snapshot that was read while another one is running: what
// needs a restart stays as it is running. It names the keys that change and those that wait.
func Merge(running, read Snapshot) (next Snapshot, changed, waiting []string) {
	next = Snapshot{Config: read.Config, Problems: read.Problems, digests: maps.Clone(read.digests)}
	kept := next.Config.keep(running.Config)
	for _, key := range differences(running, read) {
		if slices.Contains(kept, key) || needsRestart(key) {
			waiting = append(waiting, key)
		} else {
			changed = append(changed, key)
		}
	}
	for _, f := range next.Config.plainFiles() {
		if was, ok := running.digests[f.key]; ok && needsRestart(f.key) {
			next.digests[f.key] = was
		}
	}
	return next, changed, waiting
}

// differences are the keys whose values differ between what is in use and what was read anew, by
// name only.
func differences(running, next Snapshot) (keys []string) {
	a, b := running.Config, next.Config
	for _, s := range settings() {
		if !s.equal(&a, &b) {
			keys = append(keys, s.key)
		}
	}
	for _, f := range []struct {
		key  string
		a, b proxy.Secret // what only a file holds
	}{{"client_secret_file", a.PreviousSecret, b.PreviousSecret}, {"threads.client_secret_file", a.Threads.PreviousSecret, b.Threads.PreviousSecret},
		{"cache.key_file", a.Cache.Key, b.Cache.Key}} {
		if !reflect.DeepEqual(f.a, f.b) && !slices.Contains(keys, f.key) {
			keys = append(keys, f.key)
		}
	}
	for _, f := range b.plainFiles() {
		if running.digests[f.key] != next.digests[f.key] && !slices.Contains(keys, f.key) {
			keys = append(keys, f.key)
		}
	}
	return append(keys, differentApps(a.Apps, b.Apps)...)
}

// differentApps are apps that are new, changed or gone, by name.
func differentApps(a, b []App) (keys []string) {
	named := func(list []App, name string) *App {
		if i := slices.IndexFunc(list, func(app App) bool { return app.Name == name }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for _, list := range [][]App{a, b} {
		for _, app := range list {
			if key := appsKey + "." + app.Name; !reflect.DeepEqual(named(a, app.Name), named(b, app.Name)) && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// keep takes the values that need a restart from the running configuration and returns their keys.
func (next *Config) keep(running Config) (kept []string) {
	retain := func(s setting) {
		if !s.equal(&running, next) {
			s.valueOf(next).Set(s.valueOf(&running))
			kept = append(kept, s.key)
		}
	}
	// Whether the listener speaks TLS is the listener's; what it shows and whom it believes are
	// not.
	flips := (running.TLS.CertFile == "") != (next.TLS.CertFile == "")
	for _, s := range settings() {
		if needsRestart(s.key) || flips && (strings.HasPrefix(s.key, "tls.") || s.key == "auth.client_ca") {
			retain(s)
		}
	}
	if len(next.contradictions()) > 0 { // a new time-out that does not fit what waits, such as breaker.interval, waits with it
		for _, s := range settings() {
			if s.key == "upstream.timeout" || s.key == "passthrough.timeout" {
				retain(s)
			}
		}
	}
	return kept
}

// contradictions are what is wrong between the times of a Config that was put together from two.
func (next *Config) contradictions() []finding {
	l := &loader{config: *next, table: settings(), places: map[string]place{}, bad: map[string]bool{}}
	l.validateTimes()
	return l.findings
}
