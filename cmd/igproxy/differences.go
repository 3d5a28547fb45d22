package main

import (
	"reflect"
	"slices"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// needsRestart are the keys, or sections with their dot, whose values are built into what runs: listeners, servers, connections to Redis,
// breakers, the bound on calls. A reload leaves them as they are, and says so. What the files of redis.* hold is another matter: a new
// password or certificate of Redis's is used from the next connection on.
var needsRestart = []string{"listen", "admin.listen", "auth.uids", "upstream.max_in_flight", "log.format", "server.", "redis.", "coalesce.", "breaker."}

// live is what would fall under those and can be changed all the same.
const live = "server.drain"

func waitsForRestart(key string) bool {
	return key != live && slices.ContainsFunc(needsRestart, func(k string) bool {
		return key == k || strings.HasSuffix(k, ".") && strings.HasPrefix(key, k)
	})
}

// valueOf is a setting's place in a Config.
func (s setting) valueOf(c *Config) reflect.Value { return reflect.ValueOf(s.field(c)).Elem() }

func (s setting) same(a, b *Config) bool {
	return reflect.DeepEqual(s.valueOf(a).Interface(), s.valueOf(b).Interface()) // a Secret is looked at behind its pointer
}

// differences are the keys whose values differ between what is in use and what was read anew, by name only.
func differences(running, next loaded) (keys []string) {
	a, b := running.config, next.config
	for _, s := range settings() {
		if !s.same(&a, &b) {
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
func differentApps(a, b []AppConfig) (keys []string) {
	named := func(list []AppConfig, name string) *AppConfig {
		if i := slices.IndexFunc(list, func(app AppConfig) bool { return app.Name == name }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	for _, list := range [][]AppConfig{a, b} {
		for _, app := range list {
			if key := appsKey + "." + app.Name; !reflect.DeepEqual(named(a, app.Name), named(b, app.Name)) && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// hold takes from what runs the values that wait for a restart, so that next is what can be used now; it returns their keys.
func (next *Config) hold(running Config) (held []string) {
	keep := func(s setting) {
		if !s.same(&running, next) {
			s.valueOf(next).Set(s.valueOf(&running))
			held = append(held, s.key)
		}
	}
	// Whether the listener speaks TLS is the listener's; what it shows and whom it believes are not.
	flips := (running.TLS.CertFile == "") != (next.TLS.CertFile == "")
	for _, s := range settings() {
		if waitsForRestart(s.key) || flips && (strings.HasPrefix(s.key, "tls.") || s.key == "auth.client_ca") {
			keep(s)
		}
	}
	if len(next.contradictions()) > 0 { // a new time-out that does not fit what waits, such as breaker.interval, waits with it
		for _, s := range settings() {
			if s.key == "upstream.timeout" || s.key == "passthrough.timeout" {
				keep(s)
			}
		}
	}
	return held
}

// contradictions are what is wrong between the times of a Config that was put together from two.
func (next *Config) contradictions() []finding {
	l := &loader{config: *next, table: settings(), places: map[string]place{}, bad: map[string]bool{}}
	l.validateTimes()
	return l.findings
}
