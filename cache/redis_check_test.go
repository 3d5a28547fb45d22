package cache

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cache/redistest"
)

// mute returns the address of a server that accepts connections and never replies.
func mute(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func portOf(t *testing.T, s *redistest.Server) int {
	t.Helper()
	_, text, _ := net.SplitHostPort(s.Addr())
	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// If the check named one missing permission at a time, an operator would have to run it once for
// each of them.
func TestCheckNamesAllMissingPermissionsAtOnce(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	for rules, want := range map[string]string{
		"~igproxy:* +ping +get":             "give the user +set +del +eval +evalsha +time +zadd +pexpire +zrange +zrem",
		"~other:* +ping +get +eval +set":    "give the user ~igproxy:* +del +evalsha +time +zadd +pexpire +zrange +zrem",
		"~igproxy:* +@all -zadd -evalsha":   "give the user +evalsha +zadd",
		"~other:* +@all -@scripting -@list": "give the user ~igproxy:* +eval +evalsha",
	} {
		name := "user" + strings.Trim(strings.Map(func(r rune) rune {
			if r < 'a' || r > 'z' {
				return -1
			}
			return r
		}, rules), " ")
		err := fleet(t, user(server, name, rules), nil).Check(t.Context())
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: got %v, want an error with the suffix %q", rules, err, want)
		}
	}
}

// Without CLUSTER SLOTS the client knows no node, and every command fails as CLUSTER SLOTS does.
// Giving the user the permissions that the commands seem to lack would change nothing.
func TestCheckOfAClusterNamesThePermissionsThatTheLibraryNeeds(t *testing.T) {
	t.Parallel()
	node := redistest.StartClusterNode(t)
	for name, c := range map[string]struct{ rules, want string }{
		"complete":            {documented + " +cluster|slots +asking", ""},
		"no-asking":           {documented + " +cluster|slots", "give the user +asking"},
		"no-asking-nor-zadd":  {documented + " +cluster|slots -zadd", "give the user +asking +zadd"},
		"no-slots":            {documented + " +asking", "give the user +cluster|slots; without it nothing else can be tested"},
		"no-slots-nor-asking": {documented, "give the user +cluster|slots; without it nothing else can be tested"},
	} {
		user(node, name, c.rules)
		o := RedisOptions{Mode: ModeCluster, Addrs: []string{node.Addr()}, Username: name, Password: func() (string, error) { return "pw", nil }}
		err := fleet(t, o, nil).Check(t.Context())
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.HasSuffix(err.Error(), c.want)) {
			t.Errorf("%s: got %v, want an error with the suffix %q (empty: no error)", name, err, c.want)
		}
	}
}

// When a sentinel hangs, a sidecar asks the next one, so the check must do the same.
func TestCheckWaitsForTheNextSentinelWhenOneHangs(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	sentinel := redistest.StartSentinel(t, portOf(t, server))
	o := RedisOptions{Mode: ModeSentinel, Addrs: []string{mute(t), mute(t), sentinel}, MasterName: redistest.MasterName, Timeout: 2 * time.Second}
	c := newCache(t, Options{Redis: &o})
	if err := c.Check(context.Background()); err != nil {
		t.Errorf("with two sentinels that hang and one that works: got %v, want nil", err)
	}
}

// In mode sentinel, for example, redis.url is not in use, so the advice must not name it.
func TestAdviceNamesTheSettingsThatAreInUse(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	locked := fakeRedis(t, always("-NOAUTH canary\r\n"))
	gone := redistest.Start(t)
	sentinelOf := func(s *redistest.Server) string { return redistest.StartSentinel(t, portOf(t, s)) }
	ofGone := sentinelOf(gone)
	gone.Kill()
	sentinel := func(addr, master string) RedisOptions {
		return RedisOptions{Mode: ModeSentinel, Addrs: []string{addr}, MasterName: master}
	}
	for name, c := range map[string]struct {
		o    RedisOptions
		want string
	}{
		"no sentinel":      {sentinel(gone.Addr(), "m"), "refused: no sentinel listens at redis.addrs"},
		"a sentinel hangs": {sentinel(mute(t), "m"), "timeout: the sentinels at redis.addrs"},
		"a sentinel's name that does not resolve": {sentinel("name.invalid:1", "m"), "resolve: the name of a sentinel does not resolve; check redis.addrs"},
		"an unknown master":                       {sentinel(sentinelOf(server), "m"), "nomaster: no sentinel knows this master; check redis.master_name"},
		"a wrong password for the sentinel":       {sentinel(locked, "m"), "auth: the sentinels refuse the user or the password; check redis.sentinel_username and redis.sentinel_password_file"},
		"not a sentinel":                          {sentinel(server.Addr(), "m"), "other: redis.addrs must be the addresses of sentinels"},
		"the master is down":                      {sentinel(ofGone, redistest.MasterName), "refused: nothing listens at the master's address that the sentinels report"},
		"nothing at redis.addrs":                  {RedisOptions{Mode: ModeSingle, Addrs: []string{gone.Addr()}}, "refused: nothing listens at the address of Redis; check redis.addrs"},
		"no cluster at redis.addrs":               {RedisOptions{Mode: ModeCluster, Addrs: []string{gone.Addr()}}, "refused: nothing listens at the address of Redis; check redis.addrs"},
		"not a cluster":                           {RedisOptions{Mode: ModeCluster, Addrs: []string{server.Addr()}}, "other: this Redis is not part of a cluster; set redis.mode to single or sentinel"},
		"nothing at redis.url":                    {RedisOptions{Mode: ModeSingle, URL: gone.URL()}, "refused: nothing listens at the address of Redis; check redis.url"},
	} {
		o := c.o
		o.Timeout, o.StoreTimeout = 2*time.Second, 2*time.Second
		err := newCache(t, Options{Redis: &o}).Check(t.Context())
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || o.URL == "" && strings.Contains(err.Error(), "redis.url") || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, want the prefix %q, redis.url only if the URL is set, and no text of Redis's reply (canary)", name, err, c.want)
		}
	}
}

// A certificate may have the name of the service while clients connect to another host, such as a
// tunnel.
func TestTheCertificateMustHaveTheTLSServerName(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{TLS: true})
	byName := strings.Replace(server.Addr(), "127.0.0.1", "localhost", 1)
	for name, want := range map[string]string{"": "tls: ", redistest.TLSName: "", "another.invalid": "tls: "} {
		for _, o := range []RedisOptions{{URL: "rediss://" + byName}, {Addrs: []string{byName}, TLS: true}} {
			o.Mode, o.CA, o.TLSServerName, o.Timeout = ModeSingle, server.CA(), name, patient
			err := newCache(t, Options{Redis: &o}).Check(t.Context())
			if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
				t.Errorf("TLSServerName %q, with URL instead of Addrs: %v: got %v, want an error with the prefix %q (empty: no error)", name, o.URL != "", err, want)
			}
		}
	}
}

// The name of the breaker's state, open, means nothing to an operator who runs a purge.
func TestAnErrorWhileTheBreakerIsOpenDoesNotNameItsState(t *testing.T) {
	o := RedisOptions{Mode: ModeSingle, URL: "redis://localhost:1"}
	err := &fault{"purge", kindOpen, o.advice(kindOpen, nil)}
	if got := err.Error(); !strings.HasPrefix(got, "redis purge: Redis failed recently, so igproxy is not using it") {
		t.Errorf("got %q, want the operation and the advice, without the kind", got)
	}
}
