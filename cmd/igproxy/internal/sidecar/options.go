package sidecar

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"

	"github.com/igproxy/igproxy/breaker"
	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

// cacheOptions turns configuration into the cache's Options.
func cacheOptions(c config.Config, observer cache.Observer, log *slog.Logger) (cache.Options, error) {
	o := cache.Options{MaxBytes: cacheBytes(c), Observer: observer, Logger: log}
	if c.Redis.Mode == "" {
		return o, nil
	}
	o.Redis = &cache.RedisOptions{
		Mode: c.Redis.Mode, URL: c.Redis.URL.Reveal(), Addrs: c.Redis.Addrs, MasterName: c.Redis.MasterName,
		Username: c.Redis.Username, SentinelUsername: c.Redis.SentinelUsername, TLS: c.Redis.TLS, TLSServerName: c.Redis.TLSServerName, Timeout: c.Redis.Timeout,
		PoolSize: c.Redis.PoolSize, IdleTimeout: c.Redis.IdleTimeout, Prefix: c.Redis.Prefix, Wait: c.Coalesce.Wait,
	}
	if c.Coalesce.Enabled {
		o.Redis.Lease = c.Coalesce.Lease
	}
	o.Redis.Password = readPassword(c.Redis.PasswordFile)
	if password := c.Redis.Password; !password.IsZero() {
		o.Redis.Password = func() (string, error) { return password.Reveal(), nil }
	}
	o.Redis.SentinelPassword = readPassword(c.Redis.SentinelPasswordFile)
	if cert, key := c.Redis.CertFile, c.Redis.KeyFile; cert != "" {
		o.Redis.Certificate = func() (*tls.Certificate, error) { return config.ReadKeyPair(cert, key) }
	}
	if c.Redis.CAFile != "" {
		pool, err := config.ReadCertPool(c.Redis.CAFile)
		if err != nil {
			return o, fmt.Errorf("redis.ca_file: %w", err)
		}
		o.Redis.CA = pool
	}
	return o, nil
}

// readPassword returns a function that reads a password file, or nil if path is empty. The
// function is called for each connection, so that a rotated password is picked up.
func readPassword(path string) func() (string, error) {
	if path == "" {
		return nil
	}
	return func() (string, error) {
		secret, err := config.ReadSecret(path)
		return secret.Reveal(), err
	}
}

// proxyOptions turns configuration into the proxy's Options, and adds the cache, the metrics, the
// logger and igproxy's own tokens.
func (s *Sidecar) proxyOptions(conf config.Config) (proxy.Options, error) {
	o, err := upstreamOptions(conf, s.build.Version)
	if err != nil {
		return o, err
	}
	if o.Bearers, err = followTokens("auth.bearer_file", conf.Auth.BearerFile, s.log); err != nil {
		return o, err
	}
	o.Cache, o.Metrics, o.Logger, o.AnyHost = s.cache, s.metrics, s.log, len(conf.AllowedHosts) == 0
	return o, nil
}

// upstreamOptions returns the proxy's Options without what proxyOptions adds. CheckUpstream needs
// none of that.
func upstreamOptions(c config.Config, version string) (proxy.Options, error) {
	base, _ := url.Parse(c.Upstream.URL) // config.Load has checked all URLs
	login, _ := url.Parse(c.Upstream.LoginURL)
	threads, _ := url.Parse(c.Threads.URL)
	facebook, _ := url.Parse(c.Facebook.URL)
	o := proxy.Options{
		Apps:                appsOf(c),
		UpstreamURL:         base,
		LoginURL:            login,
		ThreadsURL:          threads,
		FacebookURL:         facebook,
		RefreshTTL:          c.Refresh.TTL,
		CodeTTL:             c.Code.TTL,
		DebugToken:          c.DebugToken.Enabled,
		Timeout:             c.Upstream.Timeout,
		MaxResponseBytes:    c.Upstream.MaxResponseBytes,
		MaxInFlight:         c.Upstream.MaxInFlight,
		MaxConnectionAge:    c.Upstream.MaxConnectionAge,
		IgnoreProxy:         c.Upstream.Proxy == config.ProxyNone,
		CheckSecretsAtStart: c.Upstream.CheckAtStart,
		ReadyWhenRefused:    c.Admin.ReadyWhenRefused,
		Retries:             c.Upstream.Retries,
		TTL:                 c.Cache.TTL,
		NegativeTTL:         c.Cache.NegativeTTL,
		Hosts:               c.AllowedHosts,
		LogLines:            c.Log.Lines,
		Version:             version,
		Breaker: breaker.Options{
			Failures: c.Breaker.Failures, Ratio: c.Breaker.Ratio, MinRequests: c.Breaker.MinRequests,
			Interval: c.Breaker.Interval, Open: c.Breaker.Open, Probes: c.Breaker.Probes,
		},
	}
	if p := c.Passthrough; p.Enabled {
		o.MaxPassedInFlight = p.MaxInFlight
		o.Passthrough = &proxy.PassthroughOptions{Timeout: p.Timeout, MaxBodyBytes: p.MaxBodyBytes, RewritePaging: p.RewritePaging}
	}
	if k := c.Keep; k.Enabled {
		o.Keep = &proxy.KeepOptions{RefreshBefore: k.RefreshBefore, CheckEvery: k.CheckEvery, MaxPerMinute: k.MaxPerMinute}
	}
	if _, err := Egress(c); err != nil {
		return o, err
	}
	if c.Redis.Mode != "" {
		o.ClaimBudget = c.Redis.Timeout
		if c.Coalesce.Enabled {
			o.ClaimBudget += c.Coalesce.Wait
		}
	}
	if c.Upstream.CAFile != "" {
		var err error
		if o.UpstreamCAs, err = config.ReadCertPool(c.Upstream.CAFile); err != nil {
			return o, fmt.Errorf("upstream.ca_file: %w", err)
		}
	}
	return o, nil
}

// redirectsOf returns redirect URIs for the proxy's Options. The value "none" of the configuration
// becomes "", which allows a code without a redirect_uri.
func redirectsOf(uris []string) (list []string) {
	for _, uri := range uris {
		if uri == config.RedirectNone {
			uri = ""
		}
		list = append(list, uri)
	}
	return list
}

// appsOf returns the apps, each with its secrets.
func appsOf(c config.Config) (apps []proxy.App) {
	for _, a := range c.Apps {
		apps = append(apps, proxy.App{Label: a.Name, Service: proxy.Service(a.Service), ID: a.AppID,
			Secret: a.ClientSecret, Previous: a.PreviousSecret, WebhookSecrets: a.WebhookSecrets, RedirectURIs: redirectsOf(a.RedirectURIs), Hosts: a.Hosts, AppSecretProof: a.AppsecretProof})
	}
	if !c.ClientSecret.IsZero() {
		apps = append(apps, proxy.App{ID: c.AppID, Secret: c.ClientSecret, Previous: c.PreviousSecret, WebhookSecrets: c.WebhookSecrets, RedirectURIs: c.RedirectURIs})
	}
	if a := c.Threads; !a.ClientSecret.IsZero() {
		apps = append(apps, proxy.App{Label: "threads", Service: proxy.Threads, ID: a.AppID,
			Secret: a.ClientSecret, Previous: a.PreviousSecret, WebhookSecrets: a.WebhookSecrets, RedirectURIs: redirectsOf(a.RedirectURIs)})
	}
	if a := c.Facebook; !a.ClientSecret.IsZero() {
		apps = append(apps, proxy.App{Label: "facebook", Service: proxy.Facebook, ID: a.AppID,
			Secret: a.ClientSecret, Previous: a.PreviousSecret, WebhookSecrets: a.WebhookSecrets, RedirectURIs: redirectsOf(a.RedirectURIs)})
	}
	for i := range apps {
		apps[i].Key = c.Cache.Key
		apps[i].AppSecretProof = apps[i].AppSecretProof || c.Passthrough.AppsecretProof
	}
	return apps
}
