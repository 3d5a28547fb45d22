package sidecar

import (
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

func TestKeepOptionsAreSetOnlyIfKeepIsEnabled(t *testing.T) {
	for enabled, want := range map[string]*proxy.KeepOptions{
		"false": nil,
		"true":  {RefreshBefore: 3 * time.Hour, CheckEvery: 2 * time.Minute, MaxPerMinute: 7},
	} {
		conf, _ := config.Load("", append([]string{"IGPROXY_KEEP_ENABLED=" + enabled, "IGPROXY_KEEP_REFRESH_BEFORE=3h", "IGPROXY_KEEP_CHECK_EVERY=2m",
			"IGPROXY_KEEP_MAX_PER_MINUTE=7"}, withSecret...))
		o, err := upstreamOptions(conf, "test")
		if err != nil || (o.Keep == nil) != (want == nil) || want != nil && *o.Keep != *want {
			t.Errorf("keep.enabled: %s: got the options %+v (error: %v), want %+v", enabled, o.Keep, err, want)
		}
	}
}
