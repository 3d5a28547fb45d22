package config_test

import (
	"testing"
	"time"
)

func TestKeepWarnsIfSuccessorsCanBeLost(t *testing.T) {
	const keep, redis = "keep:\n  enabled: true\n", "redis:\n  mode: single\n  addrs: [127.0.0.1:6379]\n"
	const lost = "warning: igproxy.yaml:2: keep.enabled: set without redis.mode, so the successors of refreshed tokens are lost when igproxy stops; set redis.mode to single, sentinel or cluster"
	const sealed = "warning: igproxy.yaml:2: keep.enabled: set without cache.key_file, so the successors of refreshed tokens are lost when the client secret has changed and the previous one is removed; set cache.key_file"
	const rare = "warning: igproxy.yaml:2: keep.enabled: set although passthrough.enabled is false, so only calls that refresh a token count as using it; " +
		"set passthrough.enabled: true"
	const key = "app_id: 17\ncache:\n  key_file: ./key\n"
	withKey := func(t *testing.T) { write(t, "key", "0123456789abcdef0123456789abcdef") }
	expect(t, []input{
		{name: "no Redis", yaml: keep, want: []string{lost}},
		{name: "no Redis, and a key file", yaml: keep + key, before: withKey, want: []string{lost}},
		{name: "Redis without a key file", yaml: keep + redis, want: []string{sealed}},
		{name: "Redis with a key file", yaml: keep + redis + key, before: withKey},
		{name: "nothing is passed through", yaml: keep + redis + key + "passthrough:\n  enabled: false\n", before: withKey, want: []string{rare}},
		{name: "two warnings", yaml: keep + "passthrough:\n  enabled: false\n", want: []string{lost, rare}},
		{name: "in the environment", env: []string{"IGPROXY_KEEP_ENABLED=true"},
			want: []string{"warning: environment: IGPROXY_KEEP_ENABLED: set without redis.mode, so the successors of refreshed tokens are lost when igproxy stops; set redis.mode to single, sentinel or cluster"}},
		{name: "an invalid mode is reported once", yaml: keep + "redis:\n  mode: double\n",
			want: []string{`igproxy.yaml:4: redis.mode: "double" is not an allowed value; write single, sentinel or cluster`}},
		{name: "off", yaml: "keep:\n  enabled: false\npassthrough:\n  enabled: false\n"},
	})
}

func TestKeepSettingsHaveARange(t *testing.T) {
	expect(t, []input{
		{name: "the lowest values", yaml: "keep:\n  refresh_before: 1m\n  check_every: 1s\n  max_per_minute: 1\n"},
		{name: "the highest values", yaml: "keep:\n  refresh_before: 1392h\n  check_every: 240h\n  max_per_minute: 6000\n"},
		{name: "below the range", yaml: "keep:\n  refresh_before: 59s\n  check_every: 999ms\n  max_per_minute: 0\n", want: []string{
			`igproxy.yaml:2: keep.refresh_before: "59s" is out of range; write a duration from 1m to 1392h`,
			`igproxy.yaml:3: keep.check_every: "999ms" is out of range; write a duration from 1s to 240h`,
			`igproxy.yaml:4: keep.max_per_minute: "0" is out of range; write a whole number from 1 to 6000`}},
		{name: "above the range", yaml: "keep:\n  refresh_before: 1393h\n  check_every: 241h\n  max_per_minute: 6001\n", want: []string{
			`igproxy.yaml:2: keep.refresh_before: "1393h" is out of range; write a duration from 1m to 1392h`,
			`igproxy.yaml:3: keep.check_every: "241h" is out of range; write a duration from 1s to 240h`,
			`igproxy.yaml:4: keep.max_per_minute: "6001" is out of range; write a whole number from 1 to 6000`}},
	})
}

func TestKeepIsOffByDefault(t *testing.T) {
	configFiles(t)
	conf, problems := input{yaml: ""}.load(t)
	k := conf.Keep
	if k.Enabled || k.RefreshBefore != 10*24*time.Hour || k.CheckEvery != 24*time.Hour || k.MaxPerMinute != 60 || len(problems) > 0 {
		t.Errorf("keep: got %+v, want Enabled false, RefreshBefore 240h, CheckEvery 24h, MaxPerMinute 60; problems: got %q, want none", k, problems)
	}
}
