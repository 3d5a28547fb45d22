package cache

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// masterLifetime is how long a connection to the master is used in mode sentinel. It bounds how
// long a sidecar uses a former master that the sentinels cannot reach but the sidecar can. In every
// other case a failover ends the connections.
const masterLifetime = time.Minute

// sentinels finds the address of the master. Before each new connection, it asks a sentinel for the
// address, so a new master is used when the connections to the old master have ended.
//
// The library's own client for sentinels is not used. It watches the sentinels in goroutines that
// panic when a sentinel replies with too few members, and such a panic ends the process.
type sentinels struct {
	options redis.UniversalOptions // for the connections to sentinels, without an address
	addrs   []string               // the sentinels' addresses
	master  string                 // the master's name
	first   atomic.Int64           // index of the sentinel that find asks first
	budget  time.Duration          // how long find waits for each sentinel
}

// newSentinels takes from u the options that sentinels and Redis have in common.
func newSentinels(o RedisOptions, u redis.UniversalOptions) (*sentinels, error) {
	u.Username, u.Password, u.CredentialsProviderContext, u.PoolSize = o.SentinelUsername, "", nil, 1
	if o.SentinelPassword != nil {
		password, err := o.SentinelPassword()
		if err != nil {
			return nil, fmt.Errorf("redis: the sentinels' password: %w", err)
		}
		u.Password = password
	}
	return &sentinels{options: u, addrs: o.Addrs, master: o.MasterName, budget: o.StoreTimeout}, nil
}

var errNoMaster = errors.New("redis: the sentinel does not know the master")

// sentinelError says that no sentinel returned the address of the master.
type sentinelError struct{ err error }

func (e *sentinelError) Error() string {
	return "redis: no sentinel returned the address of the master: " + e.err.Error()
}
func (e *sentinelError) Unwrap() error { return e.err }

// masterDialer returns a dialer that ignores the address it is called with, and dials the master.
func (s *sentinels) masterDialer(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, _ string) (net.Conn, error) {
		addr, err := s.find(ctx)
		if err != nil {
			return nil, err
		}
		return dial(ctx, network, addr)
	}
}

// find asks one sentinel after another, each for at most s.budget, until one returns the master's
// address. The next call begins with the sentinel that returned it.
func (s *sentinels) find(ctx context.Context) (addr string, err error) {
	var errs []error
	first := s.first.Load()
	for i := range int64(len(s.addrs)) {
		at := (first + i) % int64(len(s.addrs))
		if addr, err = s.ask(ctx, s.addrs[at]); err == nil {
			s.first.Store(at)
			return addr, nil
		}
		s.first.Store(at + 1)
		errs = append(errs, err)
	}
	return "", &sentinelError{errors.Join(errs...)}
}

func (s *sentinels) ask(ctx context.Context, sentinel string) (addr string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.budget)
	defer cancel()
	options := s.options
	options.Addrs = []string{sentinel}
	client := redis.NewSentinelClient(options.Simple())
	defer func() { _ = client.Close() }()
	found, err := client.GetMasterAddrByName(ctx, s.master).Result()
	switch {
	case errors.Is(err, redis.Nil): // redis.Nil would look like a missing key
		return "", errNoMaster
	case err != nil:
		return "", err
	case len(found) != 2:
		return "", errDesync
	}
	return net.JoinHostPort(found[0], found[1]), nil
}
