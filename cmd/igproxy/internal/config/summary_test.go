package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy"
)

func TestEffectiveReturnsEverySettingAndNoSecret(t *testing.T) {
	c := Default()
	c.Apps = make([]App, 2)
	rows := append(settings(), slices.Concat(appSettings(0), appSettings(1))...)
	secrets := 0
	for _, s := range rows {
		if field, ok := s.field(&c).Addr().Interface().(*proxy.Secret); ok {
			*field = proxy.NewSecret(canary)
			secrets++
		}
	}
	pairs, set := c.Effective(), 0
	if len(pairs) != len(rows) {
		t.Fatalf("%d settings are shown, want %d", len(pairs), len(rows))
	}
	for i, p := range pairs {
		if p[0] != rows[i].key || strings.Contains(p[1], canary) {
			t.Errorf("the setting %s has the name %q and the value %q; want its own name, and no secret", rows[i].key, p[0], p[1])
		}
		if p[1] == "set" {
			set++
		}
	}
	if set != secrets || secrets < 5 {
		t.Errorf("settings shown as set: got %d, want %d, one for each secret; secrets: got %d, want at least 5", set, secrets, secrets)
	}
	got := map[string]string{}
	for _, p := range pairs {
		got[p[0]] = p[1]
	}
	for key, want := range map[string]string{"listen": "127.0.0.1:8080", "cache.ttl": "1h", "upstream.max_response_bytes": "64KiB", "server.max_header_bytes": "16KiB",
		"breaker.ratio": "0.5", "passthrough.enabled": "true", "redis.addrs": "", "redis.url": "set", "apps.1.client_secret": "set"} {
		if got[key] != want {
			t.Errorf("%s is shown as %q, want %q", key, got[key], want)
		}
	}
}

// A setting that waits for a restart is shown with the value in use, so the origin that is shown
// must belong to that value.
func TestASettingThatWaitsForARestartKeepsItsOrigin(t *testing.T) {
	t.Chdir(t.TempDir())
	origin := func(c Config, key string) string {
		for _, s := range c.Effective() {
			if s[0] == key {
				return s[1] + " from " + s[2]
			}
		}
		return ""
	}
	secret := []string{"IGPROXY_CLIENT_SECRET=" + canary}
	write(t, "igproxy.yaml", "server:\n  idle_timeout: 1m\n")
	running, _ := Load("igproxy.yaml", secret)
	write(t, "igproxy.yaml", "cache:\n  ttl: 2h\nserver:\n  idle_timeout: 2m\n  write_timeout: 30s\n")
	read, _ := Load("igproxy.yaml", secret)
	next, _, _ := Merge(running, read)
	for key, want := range map[string]string{"cache.ttl": "2h from igproxy.yaml:2", "server.idle_timeout": "1m from igproxy.yaml:2",
		"server.write_timeout": "20s from default", "log.level": "info from default"} {
		if got := origin(next, key); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	if got := origin(read, "server.idle_timeout"); got != "2m from igproxy.yaml:4" {
		t.Errorf("Merge has changed the configuration that was read: got %s, want 2m from igproxy.yaml:4", got)
	}
}

// The URL of a service without an app is never called, so showing it would mislead.
func TestUpstreamsAreThoseOfTheServicesWithAnApp(t *testing.T) {
	const instagram, threads, facebook = "https://graph.instagram.com", "https://graph.threads.net", "https://graph.facebook.com"
	secret := proxy.NewSecret(canary)
	for name, c := range map[string]struct {
		set  func(*Config)
		want []string
	}{
		"Instagram":                               {func(c *Config) { c.ClientSecret = secret }, []string{instagram}},
		"Facebook":                                {func(c *Config) { c.Facebook.ClientSecret = secret }, []string{facebook}},
		"Instagram and Threads":                   {func(c *Config) { c.ClientSecret, c.Threads.ClientSecret = secret, secret }, []string{instagram, threads}},
		"a list of apps, one without a service":   {func(c *Config) { c.Apps = []App{{Name: "shop"}, {Name: "blog", Service: "instagram"}} }, []string{instagram}},
		"a list of apps, two services at one URL": {func(c *Config) { c.Apps = []App{{Service: "threads"}, {Service: "facebook"}}; c.Facebook.URL = threads }, []string{threads}},
	} {
		conf := Default()
		c.set(&conf)
		if got := conf.Upstreams(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

func TestTheSummarySaysWhetherTokensAreKeptAlive(t *testing.T) {
	for before, want := range map[string]string{"": "off", "240h": "on (refreshes tokens 10 days before they end)", "24h": "on (refreshes tokens 24h before they end)", "36h": "on (refreshes tokens 36h before they end)"} {
		environ := []string{"IGPROXY_CLIENT_SECRET=" + canary}
		if before != "" {
			environ = append(environ, "IGPROXY_KEEP_ENABLED=true", "IGPROXY_KEEP_REFRESH_BEFORE="+before)
		}
		c, _ := Load("", environ)
		if got := c.Kept(); got != want {
			t.Errorf("keep.refresh_before %q: got %s, want %s", before, got, want)
		}
	}
}

// A size that is shown, as by igproxy check --show, can be written in the file as it is.
func TestASizeIsShownAsItCanBeWritten(t *testing.T) {
	for _, s := range settings() {
		for _, n := range []int64{1500, 1 << 10, 3 << 20} {
			if s.kind != kindSize {
				continue
			}
			var c Config
			s.field(&c).SetInt(n)
			shown := s.text(&c)
			if got, err := s.number(shown); err != nil || int64(got) != n {
				t.Errorf("%s: %d is shown as %q, which is read as %v (error: %v), want %d", s.key, n, shown, got, err, n)
			}
		}
	}
}
