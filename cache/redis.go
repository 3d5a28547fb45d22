package cache

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The ways Redis is run.
const (
	ModeSingle   = "single"
	ModeSentinel = "sentinel"
	ModeCluster  = "cluster"
)

// RedisOptions say which Redis, and how long it may take.
type RedisOptions struct {
	// Mode is single, sentinel or cluster. Required.
	Mode string
	// URL of a single node: redis://, rediss:// or unix://. It may hold a password, so no error repeats it.
	URL string
	// Addrs are host:port of the node (single, instead of URL), of the sentinels, or of some nodes of the cluster.
	Addrs []string
	// MasterName is the sentinels' name for the master.
	MasterName string
	// Username of Redis's ACL. Empty: the URL's, or the default user.
	Username string
	// Password is asked for at each new connection, so that a rotated one is found. Nil: the URL's.
	Password func() (string, error)
	// CA is what TLS believes. Nil: the system's authorities. Other than nil it also turns TLS on for Addrs.
	CA *x509.CertPool
	// Timeout is the budget of one claim. Zero: 50 ms.
	Timeout time.Duration
	// StoreTimeout is the budget of one store, which nobody waits for. Zero: 1 s.
	StoreTimeout time.Duration
	// PoolSize bounds the connections to each node. Zero: 32.
	PoolSize int
	// Prefix of every key. Empty: igproxy.
	Prefix string
}

// errAbsent is a miss.
var errAbsent = errors.New("not in Redis")

// redisTier is the second tier. It is not trusted: what it holds is sealed, and what it answers must open.
type redisTier struct {
	client       redis.UniversalClient
	gate         *gate
	observer     Observer
	prefix       string
	timeout      time.Duration
	storeTimeout time.Duration
}

func newRedisTier(o RedisOptions, observer Observer, log *slog.Logger) (*redisTier, error) {
	if o.Timeout <= 0 {
		o.Timeout = 50 * time.Millisecond
	}
	if o.StoreTimeout <= 0 {
		o.StoreTimeout = time.Second
	}
	if o.PoolSize <= 0 {
		o.PoolSize = 32
	}
	if o.Prefix == "" {
		o.Prefix = "igproxy"
	}
	client, err := newClient(o)
	if err != nil {
		return nil, err
	}
	t := &redisTier{client: client, observer: observer, prefix: o.Prefix, timeout: o.Timeout, storeTimeout: o.StoreTimeout}
	t.gate = newGate(t.ping, observer, log)
	return t, nil
}

// newClient builds a client that dials nothing yet.
//
// The library's defaults were measured to cost 1.7 s on a refused and 5 s on a hung Redis: it retries commands and dials, waits for a
// place in its pool, and ends a read on its own time-out only. Here every call has a deadline, and that is the only clock.
func newClient(o RedisOptions) (redis.UniversalClient, error) {
	u := &redis.UniversalOptions{
		Addrs: o.Addrs, MasterName: o.MasterName, Username: o.Username,
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           o.StoreTimeout,
		ReadTimeout:           o.StoreTimeout,
		WriteTimeout:          o.StoreTimeout,
		PoolTimeout:           o.StoreTimeout,
		PoolSize:              o.PoolSize,
		PipelinePoolSize:      -1,
		ReadBufferSize:        4 << 10,
		WriteBufferSize:       4 << 10,
		DisableIdentity:       true, // one round trip less a connection
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if o.CA != nil {
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CA}
	}
	if o.URL != "" {
		if err := applyURL(u, o); err != nil {
			return nil, err
		}
	}
	if len(u.Addrs) == 0 {
		return nil, fmt.Errorf("redis: no address for mode %q; set redis.url or redis.addrs", o.Mode)
	}
	if o.Password != nil {
		u.CredentialsProviderContext = func(context.Context) (string, string, error) {
			password, err := o.Password()
			return u.Username, password, err
		}
	}
	switch o.Mode {
	case ModeSingle:
		return redis.NewClient(u.Simple()), nil
	case ModeSentinel:
		if u.MasterName == "" {
			return nil, errors.New("redis: mode sentinel needs redis.master_name")
		}
		return redis.NewFailoverClient(u.Failover()), nil
	case ModeCluster:
		return redis.NewClusterClient(u.Cluster()), nil
	}
	return nil, fmt.Errorf("redis: mode %q is not single, sentinel or cluster", o.Mode)
}

// applyURL takes address, credentials, database and TLS from the URL, and none of its tuning parameters. The library's error repeats
// the URL with its password, so it is dropped.
func applyURL(u *redis.UniversalOptions, o RedisOptions) error {
	parsed, err := redis.ParseURL(o.URL)
	if err != nil {
		return errors.New("redis.url is not of the form redis://[user:password@]host:port/db, rediss://... or unix:///path")
	}
	u.Addrs, u.DB, u.Password = []string{parsed.Addr}, parsed.DB, parsed.Password
	if u.Username == "" {
		u.Username = parsed.Username
	}
	if parsed.TLSConfig != nil {
		host, _, _ := net.SplitHostPort(parsed.Addr)
		u.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CA, ServerName: host}
	} else {
		u.TLSConfig = nil
	}
	return nil
}

// key of a value. The braces are a hash tag: all keys of one entry sit in one slot of a cluster.
func (t *redisTier) key(k Key) string { return t.prefix + ":{" + k.id.String() + "}:v" }

// get reads one value with one command. The caller's leaving does not end it, its own budget does: a plain cancel would not stop a read.
func (t *redisTier) get(ctx context.Context, k Key) (Entry, error) {
	if !t.gate.allow() {
		t.observer.RedisError("claim", kindOpen)
		return Entry{}, errGateOpen
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.timeout)
	defer cancel()
	sealed, err := t.client.Get(ctx, t.key(k)).Bytes()
	if errors.Is(err, redis.Nil) {
		t.gate.report("")
		return Entry{}, errAbsent
	}
	if err != nil {
		return Entry{}, t.fault("claim", err)
	}
	t.gate.report("")
	return open(k, sealed, time.Now())
}

// put stores one sealed value, with its end as TTL.
func (t *redisTier) put(k Key, e Entry) error {
	if !t.gate.allow() {
		t.observer.RedisError("store", kindOpen)
		return errGateOpen
	}
	sealed, err := seal(k, e)
	if err != nil {
		return err
	}
	ttl := time.Until(e.Expires).Truncate(time.Millisecond)
	if ttl <= 0 {
		return errPast
	}
	ctx, cancel := context.WithTimeout(context.Background(), t.storeTimeout)
	defer cancel()
	if err := t.client.Set(ctx, t.key(k), sealed, ttl).Err(); err != nil {
		return t.fault("store", err)
	}
	t.gate.report("")
	return nil
}

// ping is the probe of an open gate.
func (t *redisTier) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.storeTimeout)
	defer cancel()
	err := t.client.Ping(ctx).Err()
	if err != nil {
		t.observer.RedisError("ping", kindOf(err))
	}
	return err
}

// ask is ping for a person.
func (t *redisTier) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(t.timeout, t.storeTimeout))
	defer cancel()
	if err := t.client.Ping(ctx).Err(); err != nil {
		kind := kindOf(err)
		return fmt.Errorf("%s: %s", kind, advice(kind))
	}
	return nil
}

// fault counts an error by kind and drops its text, which can hold stored bytes.
func (t *redisTier) fault(operation string, err error) error {
	kind := kindOf(err)
	t.observer.RedisError(operation, kind)
	t.gate.report(kind)
	return fmt.Errorf("redis %s: %s", operation, kind)
}

func (t *redisTier) close() {
	_ = t.client.Close()
	t.gate.close()
}

// RouteLogs sends go-redis's own log, which is global to the process, to log at debug level: the fixed part of each message, because its
// arguments can hold addresses with credentials, or stored bytes. For the command to call once.
func RouteLogs(log *slog.Logger) { redis.SetLogger(redisLog{log}) }

type redisLog struct{ log *slog.Logger }

// Printf implements go-redis's logger.
func (l redisLog) Printf(ctx context.Context, format string, _ ...any) {
	l.log.DebugContext(ctx, "redis client", "what", strings.TrimSpace(format))
}
