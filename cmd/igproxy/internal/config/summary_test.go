package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy"
)

func TestEffectiveHasEverySettingAndNoSecret(t *testing.T) {
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
		t.Fatalf("%d settings are shown, of %d", len(pairs), len(rows))
	}
	for i, p := range pairs {
		if p[0] != rows[i].key || strings.Contains(p[1], canary) {
			t.Errorf("%s is shown as %q: %q", rows[i].key, p[0], p[1])
		}
		if p[1] == "set" {
			set++
		}
	}
	if set != secrets || secrets < 5 {
		t.Errorf("%d secrets are shown as set, of %d", set, secrets)
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
