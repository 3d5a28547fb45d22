package sidecar

import (
	"context"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

// CheckRedis tests whether Redis can be used as configured.
func CheckRedis(ctx context.Context, conf config.Config) error {
	o, err := cacheOptions(conf, nil, nil)
	if err != nil {
		return err
	}
	o.Redis.Timeout = max(o.Redis.Timeout, 2*time.Second) // a person waits here, not a request
	c, err := cache.New(o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	return c.Check(ctx)
}

// CheckUpstream tests the connection to Meta, TLS, and each app's client secret.
func CheckUpstream(ctx context.Context, conf config.Config, version string) ([]proxy.CheckResult, error) {
	o, err := upstreamOptions(conf, version)
	if err != nil {
		return nil, err
	}
	return proxy.CheckOnline(ctx, o)
}
