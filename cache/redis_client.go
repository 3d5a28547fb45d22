package cache

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// The values of RedisOptions.Mode.
const (
	ModeSingle   = "single"
	ModeSentinel = "sentinel"
	ModeCluster  = "cluster"
)

// RedisOptions say which Redis is used, how it is reached, and how long operations may take.
type RedisOptions struct {
	// Mode is ModeSingle, ModeSentinel or ModeCluster. Required.
	Mode string
	// URL is the address of a single node: redis://, rediss:// or unix://. It may hold a password,
	// so no error repeats it.
	URL string
	// Addrs are the addresses, host:port, of the node (in mode single, instead of URL), of the
	// sentinels, or of some nodes of the cluster.
	Addrs []string
	// MasterName is the sentinels' name for the master.
	MasterName string
	// Username is the user in Redis's access list. Empty: the user in the URL, or the default user.
	Username string
	// Password returns the password. It is called for each new connection, so that a rotated
	// password is used without a restart. Nil: the password in the URL, if any.
	Password func() (string, error)
	// SentinelUsername is the user of the sentinels. Empty: the default user.
	SentinelUsername string
	// SentinelPassword returns the password of the sentinels. It is called when a client is built.
	// Nil: no password.
	SentinelPassword func() (string, error)
	// TLS turns TLS on for Addrs. A rediss:// URL turns it on by itself.
	TLS bool
	// TLSServerName is the name that the certificates of all nodes and sentinels must have. Empty:
	// the host in the address.
	TLSServerName string
	// CA holds the certificate authorities that TLS trusts. Nil: those of the system.
	CA *x509.CertPool
	// Certificate returns the client certificate when Redis asks for one. Nil: no certificate is
	// sent.
	Certificate func() (*tls.Certificate, error)
	// Lease is how long the lease on a token lasts without a renewal. It is renewed at intervals of
	// a third of that time. Zero: processes do not wait for each other.
	Lease time.Duration
	// Wait is how long a claim waits for another process's answer before the caller asks upstream
	// itself. Zero: the claim does not wait.
	Wait time.Duration
	// Timeout bounds each request of a claim to Redis, each reading of a record, and the time that
	// Remember waits for Redis. Zero: 50 ms.
	Timeout time.Duration
	// StoreTimeout bounds every other operation, except the check for purges by other
	// processes. Zero: 1 s.
	StoreTimeout time.Duration
	// PoolSize bounds the connections to each node. Zero: 32.
	PoolSize int
	// IdleTimeout is how long a connection may be idle and still be used. Zero: 3 minutes.
	IdleTimeout time.Duration
	// Prefix is the first part of the name of every key. Empty: igproxy.
	Prefix string
}

func (o RedisOptions) withDefaults() RedisOptions {
	o.Timeout = cmp.Or(o.Timeout, 50*time.Millisecond)
	o.StoreTimeout = cmp.Or(o.StoreTimeout, time.Second)
	o.PoolSize = cmp.Or(o.PoolSize, 32)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 3*time.Minute)
	o.Prefix = cmp.Or(o.Prefix, "igproxy")
	return o
}

// newClient builds a client. It does not dial yet.
//
// With the library's defaults, a caller waits 1.7 s for a Redis that refuses connections, and 5 s
// for a Redis that hangs. The library retries commands and dials, waits for a free connection in
// its pool, and ends a read only after its own timeout. Here the deadline of each call bounds all
// of that.
func newClient(o RedisOptions) (*client, error) {
	logging.Disable() // the library's log can hold addresses with credentials, and stored bytes
	c := &client{}
	u := &redis.UniversalOptions{
		Addrs: o.Addrs, Username: o.Username,
		Protocol:              2, // igproxy needs nothing from RESP3, which has more forms of replies to guard against
		ContextTimeoutEnabled: true,
		MaxRetries:            -1,
		DialerRetries:         1,
		DialTimeout:           dialTimeout,
		ReadTimeout:           o.StoreTimeout,
		WriteTimeout:          o.StoreTimeout,
		PoolTimeout:           o.StoreTimeout,
		PoolSize:              o.PoolSize,
		ConnMaxIdleTime:       o.IdleTimeout,
		PipelinePoolSize:      -1,
		ReadBufferSize:        4 << 10,
		WriteBufferSize:       4 << 10,
		DisableIdentity:       true, // saves a round trip for each connection
		MaintNotificationsConfig: &maintnotifications.Config{
			Mode: maintnotifications.ModeDisabled,
		},
	}
	if o.TLS {
		u.TLSConfig = o.tls("") // crypto/tls takes the name from each node's address
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
	u.Dialer = dialer(u.TLSConfig)
	switch o.Mode {
	case ModeSingle:
		c.UniversalClient = redis.NewClient(u.Simple())
	case ModeSentinel:
		s, err := newSentinels(o, *u)
		if err != nil {
			return nil, err
		}
		c.sentinels, u.Dialer, u.ConnMaxLifetime = s, s.masterDialer(u.Dialer), masterLifetime
		c.UniversalClient = redis.NewClient(u.Simple())
	case ModeCluster:
		cluster := u.Cluster()
		cluster.DisableRoutingPolicies = true // they send COMMAND without regard to the deadline
		c.cluster = redis.NewClusterClient(cluster)
		c.UniversalClient = c.cluster
	default:
		return nil, fmt.Errorf("redis: mode %q is not single, sentinel or cluster", o.Mode)
	}
	if o.Mode != ModeCluster { // in a cluster, the slowest node would delay a whole batch
		c.claims = &batches{client: c.UniversalClient, budget: o.Timeout}
	}
	return c, nil
}

// applyURL takes the address, credentials, database and TLS from the URL, and ignores its
// parameters. The library's error is dropped, because it can contain the URL with its password.
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
		u.TLSConfig = o.tls(host)
	}
	return nil
}

func (o RedisOptions) tls(serverName string) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.CA, ServerName: cmp.Or(o.TLSServerName, serverName)}
	if o.Certificate != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.Certificate() }
	}
	return c
}

// exec sends a pipeline. Afterwards each command has its own result or error. If Redis refuses a
// new connection with an error reply, for example because of a wrong password, the library does not
// set that error on the commands. In this case exec sets it.
func exec(ctx context.Context, pipeline redis.Pipeliner) {
	commands, err := pipeline.Exec(ctx)
	if err == nil || slices.ContainsFunc(commands, func(c redis.Cmder) bool { return c.Err() != nil }) {
		return
	}
	for _, c := range commands {
		c.SetErr(err)
	}
}
