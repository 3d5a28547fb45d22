package config

import (
	"crypto/sha256"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// InterceptTunnel is the value of intercept.others that makes igproxy open tunnels to other hosts.
const InterceptTunnel = "tunnel"

// ProxyNone is the value of upstream.proxy that forbids a proxy.
const ProxyNone = "none"

// Config is the whole configuration. Each key sets a field: upstream.max_in_flight, for example,
// sets Upstream.MaxInFlight. The table in settings.go has the meaning, unit and range of each key.
type Config struct {
	Listen       []string
	AllowedHosts []string
	credentials        // of the default app, from the top-level keys
	Apps         []App // if not empty, they replace the default app
	Threads      service
	Facebook     service
	Auth         struct {
		BearerFile, ClientCA string
		ClientNames, UIDs    []string
		None                 bool
	}
	TLS   struct{ CertFile, KeyFile string }
	Admin struct {
		Listen, Socket string
		UIDs           []string
		TokenFile      string
		Quit           bool

		ReadyWhenRefused bool
	}
	Intercept struct {
		Listen     string // empty: off
		CAFile     string
		CAKeyFile  string
		TLS        bool
		Others     string
		MaxTunnels int
		TunnelIdle time.Duration
	}
	Upstream struct {
		URL, LoginURL    string
		Timeout          time.Duration
		CAFile           string
		MaxResponseBytes int64
		MaxInFlight      int
		Retries          int
		MaxConnectionAge time.Duration
		Proxy            string
		CheckAtStart     bool
	}
	Cache struct {
		TTL, NegativeTTL time.Duration
		MaxBytes         int64 // zero: derived from the memory limit
		KeyFile          string
		Key              proxy.Secret // the contents of KeyFile
	}
	Refresh struct{ TTL time.Duration }
	Code    struct{ TTL time.Duration }
	Keep    struct {
		Enabled                   bool
		RefreshBefore, CheckEvery time.Duration
		MaxPerMinute              int
	}
	DebugToken  struct{ Enabled bool }
	Passthrough struct {
		Enabled       bool
		Timeout       time.Duration
		MaxInFlight   int
		MaxBodyBytes  int64
		RewritePaging bool

		AppsecretProof bool
	}
	Redis struct {
		Mode                                   string       // empty: memory only
		URL                                    proxy.Secret // may contain a password
		Addrs                                  []string
		MasterName                             string
		Username, PasswordFile                 string
		Password                               proxy.Secret
		SentinelUsername, SentinelPasswordFile string
		TLS                                    bool
		TLSServerName                          string
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
		Drain, DrainDelay                                         time.Duration
		SocketMode                                                string // octal
		FastLane                                                  bool
	}
	Log struct {
		Level, Format string
		Lines         int // how many lines of one kind may be logged per second
	}
	origins map[string]string    // where each key was set; a key that is not in the map has its default
	digests [3][sha256.Size]byte // of the contents of the files in plainFiles, in the same order; zero: not read
}

// service is the section threads or facebook, which configures one app of that service.
type service struct {
	credentials
	URL string
}

// App is an item of the list apps.
type App struct {
	Name    string
	Service string // instagram, threads or facebook; empty: instagram
	credentials
	Hosts          []string
	AppsecretProof bool
}

// credentials identify an app to Meta.
type credentials struct {
	AppID            string
	ClientSecret     proxy.Secret // from the key client_secret, or from the first line of ClientSecretFile
	ClientSecretFile string
	PreviousSecret   proxy.Secret // the second line of ClientSecretFile

	WebhookSecretFile string
	WebhookSecrets    []proxy.Secret // the one or two lines of WebhookSecretFile

	RedirectURIs []string
}

// Default returns the configuration of an empty file and an empty environment. It lacks a client
// secret.
func Default() (c Config) {
	for _, s := range settings() {
		if s.value != "" {
			s.set(&c, []string{s.value})
		}
	}
	return c
}
