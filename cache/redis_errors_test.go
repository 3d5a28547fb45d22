package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/igproxy/igproxy/cache/redistest"
)

func clientOf(t *testing.T, o RedisOptions) redis.UniversalClient {
	t.Helper()
	o.Mode = ModeSingle
	if o.StoreTimeout == 0 {
		o.StoreTimeout = patient
	}
	if o.PoolSize == 0 {
		o.PoolSize = 4
	}
	client, err := newClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client.UniversalClient
}

// fails sends a GET through the real client and checks the kind of the error.
func fails(t *testing.T, o RedisOptions, budget time.Duration, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), budget)
	defer cancel()
	err := clientOf(t, o).Get(ctx, "k").Err()
	if err == nil {
		t.Fatalf("got no error, want one of kind %s", want)
	}
	if got := kindOf(err); got != want {
		t.Errorf("kind %s, want %s; the error: %T: %v", got, want, err, err)
	}
	if got := kindOf(fmt.Errorf("wrapped: %w", err)); got != want {
		t.Errorf("the same error, wrapped: kind %s, want %s", got, want)
	}
}

// The texts are from Redis's source (src/server.c, src/cluster.c, src/networking.c, src/acl.c).
func TestEachErrorReplyHasItsKind(t *testing.T) {
	for _, c := range []struct{ reply, want string }{
		{"LOADING Redis is loading the dataset in memory", kindLoading},
		{"READONLY You can't write against a read only replica.", kindReadOnly},
		{"OOM command not allowed when used memory > 'maxmemory'.", kindOOM},
		{"NOAUTH Authentication required.", kindAuth},
		{"WRONGPASS invalid username-password pair or user is disabled.", kindAuth},
		{"NOPERM this user has no permissions to access one of the keys used as arguments", kindPermission},
		{"NOPERM this user has no permissions to run the 'get' command", kindPermission},
		{"NOPERM User igproxy has no permissions to run the 'set' command", kindPermission},
		{"NOPERM No permissions to access a key", kindPermission},
		{"NOPERM this user has no permissions to run the 'evalsha' command", kindPermission},
		{"ERR The user executing the script can't run this command or subcommand script: 872b, on @user_script:1.", kindPermission},
		{"NOREPLICAS Not enough good replicas to write.", kindNoReplicas},
		{"ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?", kindAuth},
		{"ERR invalid password", kindAuth},
		{"DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user.", kindAuth},
		{"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", kindBusy},
		{"ERR max number of clients reached", kindMaxClients},
		{"ERR max number of clients + cluster connections reached", kindMaxClients},
		{"CLUSTERDOWN The cluster is down", kindClusterDown},
		{"CLUSTERDOWN Hash slot not served", kindClusterDown},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", kindReadOnly},
		{"TRYAGAIN Multiple keys request during rehashing of slot", kindTryAgain},
		{"MOVED 3999 127.0.0.1:6381", kindMoved},
		{"ASK 3999 127.0.0.1:6381", kindMoved},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", kindWrongType},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", kindMisconf},
		{"ERR unknown command 'GET'", kindOther},
		{"", kindOther},
	} {
		t.Run(c.reply, func(t *testing.T) {
			fails(t, RedisOptions{Addrs: []string{fakeRedis(t, always("-"+c.reply+"\r\n"))}}, patient, c.want)
		})
	}
}

func TestEachConnectionFaultHasItsKind(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		s := redistest.Start(t)
		s.Kill()
		fails(t, RedisOptions{URL: s.URL()}, patient, kindRefused)
	})
	t.Run("no such Unix socket", func(t *testing.T) {
		fails(t, RedisOptions{URL: "unix://" + t.TempDir() + "/redis.sock"}, patient, kindRefused)
	})
	t.Run("hung", func(t *testing.T) {
		s := redistest.Start(t)
		s.Pause()
		defer s.Resume()
		fails(t, RedisOptions{URL: s.URL()}, 20*time.Millisecond, kindTimeout)
		fails(t, RedisOptions{URL: s.URL(), StoreTimeout: 20 * time.Millisecond}, patient, kindTimeout)
	})
	t.Run("no free connection", func(t *testing.T) {
		o := RedisOptions{Addrs: []string{fakeRedis(t, always("+PONG\r\n"))}, PoolSize: 1, StoreTimeout: 200 * time.Millisecond}
		client := clientOf(t, o)
		held := client.(*redis.Client).Conn()
		defer held.Close()
		eventually(t, "a connection is held", func() bool { return held.Ping(context.Background()).Err() == nil })
		if err := client.Get(context.Background(), "k").Err(); kindOf(err) != kindPool {
			t.Errorf("kind %s, want %s; the error: %v", kindOf(err), kindPool, err)
		}
	})
	t.Run("closed without a reply", func(t *testing.T) {
		fails(t, RedisOptions{Addrs: []string{fakeRedis(t, func([]string) string { return "" })}}, patient, kindBroken)
	})
	t.Run("closed in the middle of a reply", func(t *testing.T) {
		for _, part := range []string{"$", "$10\r", "$10\r\nfoo", "$3\r\nfoo\r"} {
			fails(t, RedisOptions{Addrs: []string{fakeRedis(t, always(part))}}, patient, kindBroken)
		}
	})
	t.Run("reset", func(t *testing.T) {
		fails(t, RedisOptions{Addrs: []string{fakeRedis(t, always(hangUp))}}, patient, kindBroken)
	})
	t.Run("closed by the client", func(t *testing.T) {
		client := clientOf(t, RedisOptions{Addrs: []string{"127.0.0.1:1"}})
		_ = client.Close()
		if err := client.Get(context.Background(), "k").Err(); kindOf(err) != kindBroken {
			t.Errorf("kind %s, want %s; the error: %v", kindOf(err), kindBroken, err)
		}
	})
	t.Run("a name that does not resolve", func(t *testing.T) { // an empty label needs no DNS query
		fails(t, RedisOptions{URL: "redis://redis..invalid:6379"}, patient, kindResolve)
	})
	t.Run("a server that is not Redis", func(t *testing.T) {
		fails(t, RedisOptions{Addrs: []string{fakeRedis(t, always("HTTP/1.1 400 Bad Request\r\n"))}}, patient, kindOther)
	})
}

func TestEachTLSFaultHasItsKind(t *testing.T) {
	plain, secure, stranger := redistest.Start(t), redistest.Start(t, redistest.Options{TLS: true}), redistest.Start(t, redistest.Options{TLS: true})
	t.Run("an unknown authority", func(t *testing.T) {
		fails(t, RedisOptions{URL: secure.URL(), CA: stranger.CA()}, patient, kindTLS)
		fails(t, RedisOptions{URL: secure.URL()}, patient, kindTLS)
		fails(t, RedisOptions{URL: secure.URL(), CA: x509.NewCertPool()}, patient, kindTLS)
	})
	t.Run("a certificate for another name", func(t *testing.T) {
		_, port, _ := net.SplitHostPort(secure.Addr())
		fails(t, RedisOptions{URL: "rediss://localhost:" + port, CA: secure.CA()}, patient, kindTLS)
	})
	t.Run("TLS to a plain port", func(t *testing.T) { // Redis waits for the end of a line
		fails(t, RedisOptions{URL: strings.Replace(plain.URL(), "redis:", "rediss:", 1)}, 200*time.Millisecond, kindTimeout)
	})
	t.Run("TLS to a server that greets in plain text", func(t *testing.T) {
		fails(t, RedisOptions{URL: "rediss://" + greets(t, "-ERR max number of clients reached\r\n")}, patient, kindTLS)
	})
	t.Run("plain to a TLS port", func(t *testing.T) { // the server hangs up; the advice for kindBroken mentions rediss://
		fails(t, RedisOptions{URL: strings.Replace(secure.URL(), "rediss:", "redis:", 1)}, patient, kindBroken)
	})
	t.Run("refused by an alert", func(t *testing.T) {
		secure.Do("CONFIG", "SET", "tls-auth-clients", "yes")
		err := clientOf(t, RedisOptions{URL: secure.URL(), CA: secure.CA()}).Ping(context.Background()).Err()
		if kind := kindOf(err); kind != kindTLS && kind != kindBroken { // Redis may hang up before the alert is read
			t.Errorf("kind %s, want %s or %s; the error: %v", kind, kindTLS, kindBroken, err)
		}
	})
	t.Run("no common version", func(t *testing.T) {
		stranger.Do("CONFIG", "SET", "tls-protocols", "TLSv1.3")
		client := clientOf(t, RedisOptions{URL: stranger.URL(), CA: stranger.CA()})
		client.(*redis.Client).Options().TLSConfig.MaxVersion = tls.VersionTLS12
		if err := client.Ping(context.Background()).Err(); kindOf(err) != kindTLS {
			t.Errorf("kind %s, want %s; the error: %v", kindOf(err), kindTLS, err)
		}
	})
}

// greets returns the address of a server that writes before it reads, as Redis does when it accepts
// no more clients.
func greets(t *testing.T, text string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { // ends when the listener is closed
		defer close(done)
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_, _ = io.WriteString(c, text)
			_, _ = io.Copy(io.Discard, c) // until the client has read the greeting and hung up
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// kinds has every kind except kindBacklog, which is only counted, and kindNoMaster, which occurs
// only in mode sentinel.
var kinds = []string{
	kindRefused, kindTimeout, kindPool, kindBroken, kindResolve, kindTLS, kindLoading, kindReadOnly, kindOOM, kindAuth, kindBusy, kindMaxClients,
	kindClusterDown, kindTryAgain, kindMoved, kindWrongType, kindMisconf, kindPermission, kindNoScript, kindDesync, kindOversize, kindNoReplicas,
	kindOpen, kindOther,
}

// Every kind in kinds except kindOther has its own advice.
func TestEveryErrorKindNamesANextStep(t *testing.T) {
	for _, kind := range kinds {
		step := (&RedisOptions{}).advice(kind, nil)
		named := false
		for _, verb := range []string{"check ", "see ", "try ", "raise ", "point ", "set ", "wait ", "give "} {
			named = named || strings.Contains(step, verb)
		}
		if !named {
			t.Errorf("%s: the advice is %q, want a verb for the operator, such as check or see", kind, step)
		}
		if fallback := step == seeLog; fallback != (kind == kindOther) {
			t.Errorf("%s: the advice is %q; is it the fallback: got %v, want %v", kind, step, fallback, kind == kindOther)
		}
	}
}

// A cluster whose slots are moving is already in mode cluster.
func TestAdviceInModeClusterDoesNotSuggestModeCluster(t *testing.T) {
	for _, kind := range kinds {
		if step := (&RedisOptions{Mode: ModeCluster}).advice(kind, nil); strings.Contains(step, "to cluster") {
			t.Errorf("%s: the advice is %q, want one without \"to cluster\"", kind, step)
		}
	}
}

func TestHarmlessKindsComeFromARedisThatAnswers(t *testing.T) {
	want := map[string]bool{kindPermission: true, kindReadOnly: true, kindOOM: true, kindMoved: true, kindTryAgain: true, kindNoReplicas: true, kindWrongType: true, kindMisconf: true}
	for _, kind := range append(kinds, "") {
		if harmless(kind) != want[kind] {
			t.Errorf("%q: harmless %v, want %v", kind, harmless(kind), want[kind])
		}
	}
}

// Callers and logs only get the kind, because the text of an error reply can contain stored bytes.
func TestErrorsDoNotContainRedisText(t *testing.T) {
	r := &recorder{}
	tier, err := newRedisTier(RedisOptions{Mode: ModeSingle, Addrs: []string{fakeRedis(t, always("-ERR canary\r\n"))}, Timeout: patient, StoreTimeout: patient}, r, r.logger())
	if err != nil {
		t.Fatal(err)
	}
	defer tier.close()
	_, claim := tier.claim(context.Background(), keyOf(t, "token"), "owner", nil)
	_, publish := tier.publish(keyOf(t, "token"), "owner", []byte("sealed"), time.Minute, nil, sealedIndex{})
	for what, err := range map[string]error{"claim": claim, "publish": publish, "check": tier.check(context.Background())} {
		if err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), kindOther) || errors.Unwrap(err) != nil {
			t.Errorf("%s: got the error %v, want kind %s, and not the text from Redis (canary)", what, err, kindOther)
		}
	}
	if log := strings.Join(r.lines(), "\n"); strings.Contains(log, "canary") {
		t.Errorf("the log contains the text of the reply from Redis: %s", log)
	}
}
