package config

import (
	"crypto/sha256"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// Config is the whole configuration. What each key means, its unit and its range are told in the table of settings.go.
type Config struct {
	Listen           string
	AllowedHosts     []string
	AppID            string
	ClientSecret     proxy.Secret // also when it came from ClientSecretFile
	ClientSecretFile string
	PreviousSecret   proxy.Secret // the second line of ClientSecretFile
	RedirectURIs     []string
	Apps             []App // in place of the four above
	Auth             struct {
		BearerFile, ClientCA string
		UIDs                 []string
		None                 bool
	}
	TLS     struct{ CertFile, KeyFile string }
	Threads struct {
		URL              string
		AppID            string
		ClientSecret     proxy.Secret // also when it came from ClientSecretFile
		ClientSecretFile string
		PreviousSecret   proxy.Secret
		RedirectURIs     []string
	}
	Admin    struct{ Listen string }
	Upstream struct {
		URL              string
		LoginURL         string
		Timeout          time.Duration
		CAFile           string
		MaxResponseBytes int64
		MaxInFlight      int
		Retries          int
	}
	Cache struct {
		TTL, NegativeTTL time.Duration
		MaxEntries       int
		KeyFile          string
		Key              proxy.Secret // the content of KeyFile
	}
	Refresh     struct{ TTL time.Duration }
	Code        struct{ TTL time.Duration }
	Passthrough struct {
		Enabled       bool
		Timeout       time.Duration
		MaxBodyBytes  int64
		RewritePaging bool
	}
	Redis struct {
		Mode                                   string       // empty: memory only
		URL                                    proxy.Secret // it may hold a password
		Addrs                                  []string
		MasterName                             string
		Username, PasswordFile                 string
		SentinelUsername, SentinelPasswordFile string
		TLS                                    bool
		CAFile, CertFile, KeyFile              string
		Timeout                                time.Duration
		PoolSize                               int
		IdleTimeout                            time.Duration
		Prefix                                 string
	}
	Coalesce struct {
		Enabled     bool
		Lease, Wait time.Duration
	}
	Breaker struct {
		Failures       int
		Ratio          float64
		MinRequests    int
		Interval, Open time.Duration
		Probes         int
	}
	Server struct {
		ReadHeaderTimeout, ReadTimeout, WriteTimeout, IdleTimeout time.Duration
		MaxHeaderBytes, MaxConnections                            int
		Drain                                                     time.Duration
		SocketMode                                                string // octal
		FastLane                                                  bool
	}
	Log struct {
		Level, Format string
		Hits          int // lines a second
	}
	digests [3][sha256.Size]byte // of plainFiles, in their order; zero: not read
}

// Default is the only place they are written in; config.example.yaml is made of them.
func Default() Config {
	var c Config
	c.Listen = "127.0.0.1:8080"
	c.Admin.Listen = "127.0.0.1:9090"
	c.Upstream.URL = "https://graph.instagram.com"
	c.Upstream.LoginURL = "https://api.instagram.com"
	c.Threads.URL = "https://graph.threads.net"
	c.Refresh.TTL = 5 * time.Minute
	c.Code.TTL = 2 * time.Minute
	c.Passthrough.Enabled = true
	c.Passthrough.Timeout = time.Minute
	c.Passthrough.MaxBodyBytes = 64 << 20
	c.Upstream.Timeout = 10 * time.Second
	c.Upstream.MaxResponseBytes = 64 << 10
	c.Upstream.MaxInFlight = 128
	c.Upstream.Retries = 1
	c.Cache.TTL = time.Hour // the life of a short-lived token
	c.Cache.NegativeTTL = time.Minute
	c.Cache.MaxEntries = 100_000
	c.Redis.Timeout = 50 * time.Millisecond
	c.Redis.PoolSize = 32
	c.Redis.IdleTimeout = 3 * time.Minute
	c.Redis.Prefix = "igproxy"
	c.Coalesce.Enabled = true
	c.Coalesce.Lease = 1500 * time.Millisecond
	c.Coalesce.Wait = 5 * time.Second
	c.Breaker.Failures = 5
	c.Breaker.Ratio = 0.5
	c.Breaker.MinRequests = 20
	c.Breaker.Interval = time.Minute
	c.Breaker.Open = 10 * time.Second
	c.Breaker.Probes = 1
	c.Server.ReadHeaderTimeout = 5 * time.Second
	c.Server.ReadTimeout = 10 * time.Second
	c.Server.WriteTimeout = 20 * time.Second
	c.Server.IdleTimeout = 90 * time.Second
	c.Server.MaxHeaderBytes = 16 << 10
	c.Server.MaxConnections = 1024
	c.Server.Drain = 20 * time.Second
	c.Server.SocketMode = "0660" // the owner and the group, and nobody else
	c.Server.FastLane = true
	c.Log.Level = "info"
	c.Log.Hits = 100
	c.Log.Format = "auto"
	return c
}
