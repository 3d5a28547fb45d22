package config_test

import (
	"slices"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

func TestAProblemWithAVariableNamesTheVariable(t *testing.T) {
	expect(t, []input{
		{name: "a wrong value", env: []string{"IGPROXY_UPSTREAM_TIMEOUT=10"},
			want: []string{`environment: IGPROXY_UPSTREAM_TIMEOUT: "10" is not a duration; write a duration from 100ms to 1m, in h, m, s or ms`}},
		{name: "a misspelt variable", env: []string{"IGPROXY_UPSTREAM_TIMOUT=10s"},
			want: []string{"warning: environment: IGPROXY_UPSTREAM_TIMOUT: unknown variable, ignored; did you mean IGPROXY_UPSTREAM_TIMEOUT?"}},
		{name: "a variable that resembles no setting", env: []string{"IGPROXY_COLOUR=red"},
			want: []string{"warning: environment: IGPROXY_COLOUR: unknown variable, ignored; see config.example.yaml for all keys"}},
		{name: "a variable without its section", env: []string{"IGPROXY_MAX_BYTES=3"},
			want: []string{"warning: environment: IGPROXY_MAX_BYTES: unknown variable, ignored; did you mean IGPROXY_CACHE_MAX_BYTES?"}},
		{name: "a port, which is not a setting", env: []string{"IGPROXY_PORT=8080"},
			want: []string{"warning: environment: IGPROXY_PORT: unknown variable, ignored; see config.example.yaml for all keys"}},
		{name: "a contradiction between file and environment", yaml: "upstream:\n  timeout: 10s\n", env: []string{"IGPROXY_BREAKER_INTERVAL=20s"},
			want: []string{"environment: IGPROXY_BREAKER_INTERVAL: 20s is less than three times upstream.timeout: slow failures would not be counted; write 30s or more"}},
		{name: "an empty item of a list in the environment", env: []string{"IGPROXY_ALLOWED_HOSTS=a,,b"},
			want: []string{"environment: IGPROXY_ALLOWED_HOSTS: item 2: an empty value; write a value, or remove the key"}},
	})
}

// An operator who edits a line that a variable overrides must learn why nothing changes.
func TestTheEnvironmentOverridesTheFileWithAWarning(t *testing.T) {
	configFiles(t)
	warning := []string{"warning: environment: IGPROXY_UPSTREAM_TIMEOUT: overrides igproxy.yaml:3, which sets the same key; remove one of the two"}
	in := input{yaml: "listen: 127.0.0.1:1\nupstream:\n  timeout: 5s\n", env: []string{"IGPROXY_UPSTREAM_TIMEOUT=3s"}}
	c, lines := in.load(t)
	if c.Listen[0] != "127.0.0.1:1" || c.Upstream.Timeout != 3*time.Second || !slices.Equal(lines, warning) {
		t.Errorf("listen: got %s, want 127.0.0.1:1; upstream.timeout: got %s, want 3s; problems: got %v, want %v", c.Listen, c.Upstream.Timeout, lines, warning)
	}
}

// If igproxy did not check a value that is overridden, the operator would learn of the mistake only
// after removing the variable.
func TestAWrongValueInTheFileIsReportedEvenIfTheEnvironmentOverridesIt(t *testing.T) {
	expect(t, []input{{name: "a wrong value that is overridden", yaml: "upstream:\n  timeout: 5\n", env: []string{"IGPROXY_UPSTREAM_TIMEOUT=3s"},
		want: []string{`igproxy.yaml:2: upstream.timeout: "5" is not a duration; write a duration from 100ms to 1m, in h, m, s or ms`,
			"warning: environment: IGPROXY_UPSTREAM_TIMEOUT: overrides igproxy.yaml:2, which sets the same key; remove one of the two"}}})
}

func TestAnEmptyVariableIsUnset(t *testing.T) {
	configFiles(t)
	in := input{yaml: "upstream:\n  timeout: 5s\n", env: []string{"IGPROXY_UPSTREAM_TIMEOUT=", "IGPROXY_LISTEN=", "IGPROXY_ALLOWED_HOSTS=", "IGPROXY_NONSENSE="}}
	c, lines := in.load(t)
	if c.Upstream.Timeout != 5*time.Second || c.Listen[0] != config.Default().Listen[0] || c.AllowedHosts != nil || lines != nil {
		t.Errorf("upstream.timeout: got %s, want 5s; listen: got %s, want the default; allowed_hosts: got %v, want the default; problems: got %v, want no problem",
			c.Upstream.Timeout, c.Listen, c.AllowedHosts, lines)
	}
}

func TestCommasSeparateTheItemsOfAListInAVariable(t *testing.T) {
	configFiles(t)
	in := input{env: []string{"IGPROXY_ALLOWED_HOSTS=a.internal, b.internal"}}
	if c, lines := in.load(t); !slices.Equal(c.AllowedHosts, []string{"a.internal", "b.internal"}) || lines != nil {
		t.Errorf("allowed_hosts: got %q, want a.internal and b.internal; problems: got %v, want no problem", c.AllowedHosts, lines)
	}
}

// A Service named igproxy or igproxy-admin adds such variables to every pod of its namespace. The
// last two variables of this test, IGPROXY_CONFIG and OTHER, are not injected. They must cause no
// warning either.
func TestVariablesThatKubernetesAndDockerInjectAreIgnored(t *testing.T) {
	expect(t, []input{{name: "injected", env: []string{
		"IGPROXY_SERVICE_HOST=10.0.0.1", "IGPROXY_SERVICE_PORT=8080", "IGPROXY_SERVICE_PORT_HTTP=8080", "IGPROXY_PORT=tcp://10.0.0.1:8080",
		"IGPROXY_PORT_8080_TCP=tcp://10.0.0.1:8080", "IGPROXY_PORT_8080_TCP_PROTO=tcp", "IGPROXY_PORT_8080_TCP_PORT=8080", "IGPROXY_PORT_8080_TCP_ADDR=10.0.0.1",
		"IGPROXY_ADMIN_SERVICE_HOST=10.0.0.2", "IGPROXY_ADMIN_PORT=tcp://10.0.0.2:9090", "IGPROXY_CONFIG=igproxy.yaml", "OTHER=1",
	}}})
}

func TestTheLastOfTwoValuesOfAVariableWins(t *testing.T) {
	configFiles(t)
	in := input{env: []string{"IGPROXY_LISTEN=127.0.0.1:1", "IGPROXY_LISTEN=127.0.0.1:2"}}
	if c, _ := in.load(t); c.Listen[0] != "127.0.0.1:2" {
		t.Errorf("listen: got %s, want 127.0.0.1:2", c.Listen)
	}
}
