package integration

import (
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// Without app_id, two apps that share a cache.key_file and a Redis could get each other's tokens.
// So check and serve refuse a cache.key_file without an app_id.
func TestKeyFileWithoutAppIDIsRefused(t *testing.T) {
	t.Parallel()
	key := file(t, "key", strings.Repeat("k", 32))
	for _, command := range []string{"check", "serve"} {
		code, out, errs := harness.Run(t, environ("CACHE_KEY_FILE="+key, "LISTEN=127.0.0.1:0"), command)
		if said := out + errs; code == 0 || !strings.Contains(said, "IGPROXY_APP_ID: missing, and cache.key_file is set") {
			t.Errorf("%s without an app ID: exit code %d, want a failure with \"IGPROXY_APP_ID: missing, and cache.key_file is set\", output %s", command, code, said)
		}
	}
	if code, out, errs := harness.Run(t, environ("CACHE_KEY_FILE="+key, "APP_ID=1"), "check"); code != 0 {
		t.Errorf("check with an app ID: exit code %d, want 0, output %s%s", code, out, errs)
	}
}
