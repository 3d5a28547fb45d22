package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// FuzzConfig checks that no file and no environment makes Load panic or repeat a secret, that the
// same input causes the same problems, and that an accepted configuration is within the bounds of
// the table.
func FuzzConfig(f *testing.F) {
	example, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	keys := regexp.MustCompile(`(?m)^ *(#.*)?\n`).ReplaceAllString(string(example), "")
	f.Add("", "", "")
	f.Add(keys, "", "")
	f.Add("", keys, "IGPROXY_LISTEN=127.0.0.1:1")
	f.Add("redis: {mode: single}", "", "localhost:1") // accepted
	f.Add("listen: \"127.0.0.1:1", "\"", "IGPROXY_UPSTREAM_TIMEOUT=10\nIGPROXY_LOG_LEVEL=loud")
	f.Add("redis:\n  mode: cluster\n  addrs: [a:1, b:2]", "log: {level: debug}", "IGPROXY_REDIS_POOL_SIZE=3\nIGPROXY_NONSENSE=1")
	f.Add("a: &a [1]\nb: *a", "? {c: d}\n: !!set {e}", "")
	f.Add("log: {level: ", "}", "IGPROXY_ALLOWED_HOSTS=a,,b")
	f.Add("upstream:\n  timeout: 20s\nbreaker:\n  interval: 1m\n  ratio: 1e-3", "---\nlisten: x", "IGPROXY_BREAKER_RATIO=NaN")
	// No two inputs use this path at once, because each worker is a process with its own path and
	// takes one input at a time.
	path := filepath.Join(f.TempDir(), "igproxy.yaml")
	f.Fuzz(func(t *testing.T, before, after, environment string) {
		text := before + "\nclient_secret: " + canary + "\n" + after
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		environ := append(strings.Split(environment, "\n"), "IGPROXY_REDIS_URL=redis://me:"+canary+"@"+environment, "IGPROXY_SECRET="+canary)
		config, problems := Load(path, environ)
		failed := false
		for _, p := range problems {
			failed = failed || !p.Warning
			if line := fmt.Sprint(p, p.Where, p.Key, p.What, p.Fix); strings.Contains(line, canary) {
				t.Errorf("the secret was printed: %s", line)
			}
			if line := p.String(); strings.ContainsFunc(line, isControl) || p.What == "" || p.Fix == "" {
				t.Errorf("want a problem in one line that says what is wrong and what to do; got %q", line)
			}
		}
		if strings.Contains(fmt.Sprintf("%+v %#v", config, config), canary) {
			t.Error("the configuration prints its secret")
		}
		if again, repeated := Load(path, environ); !slices.Equal(problems, repeated) || !failed && !reflect.DeepEqual(again.Log, config.Log) {
			t.Errorf("loaded again: problems: got %v, want %v; log settings: got %+v, want %+v", repeated, problems, again.Log, config.Log)
		}
		if !failed {
			inBounds(t, &config)
		}
	})
}

// inBounds checks each value against its row, and the most important rules between keys.
func inBounds(t *testing.T, c *Config) {
	t.Helper()
	for _, s := range settings() {
		var n float64
		var texts []string
		switch field := s.field(c).Addr().Interface().(type) {
		case *string:
			texts = []string{*field}
		case *proxy.Secret:
			texts = []string{field.Reveal()}
		case *[]string:
			texts = *field
		case *time.Duration:
			n = float64(*field)
		case *int64:
			n = float64(*field)
		case *int:
			n = float64(*field)
		case *float64:
			n = *field
		case *bool:
		default:
			t.Fatalf("%s: this test cannot check a field of type %T", s.key, field)
		}
		unset := n == 0 && s.value == ""
		if !unset && (n < s.low || n > s.high || n != n) {
			t.Errorf("%s: got %v, want a number from %v to %v", s.key, n, s.low, s.high)
		}
		for _, text := range texts {
			if text != "" && s.checkText(text) != nil {
				t.Errorf("%s has a value that its own check refuses", s.key)
			}
		}
	}
	switch {
	case c.ClientSecret.IsZero():
		t.Error("the client secret is missing, and no error was reported")
	case c.Breaker.Interval < 3*c.Upstream.Timeout, c.Server.WriteTimeout < c.Upstream.Timeout+time.Second, c.Server.ReadTimeout < c.Server.ReadHeaderTimeout:
		t.Errorf("the times contradict each other, and no error was reported: %+v", c)
	case slices.Contains(c.Listen, c.Admin.Listen) && !strings.HasSuffix(c.Admin.Listen, ":0"):
		t.Errorf("listen and admin.listen have the same address, and no error was reported: %s", c.Listen)
	case c.Redis.Mode == "sentinel" && (len(c.Redis.Addrs) == 0 || c.Redis.MasterName == ""), c.Redis.Mode == "cluster" && len(c.Redis.Addrs) == 0:
		t.Errorf("redis.mode is %s, but redis.addrs or redis.master_name is missing, and no error was reported", c.Redis.Mode)
	}
}
