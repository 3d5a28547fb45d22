package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// The functions in this file start igproxy, its peers, and the servers behind them. Each server
// listens on a free loopback port. The upstream of nginx and Varnish is the origin, which sends
// bodies of the same length as igproxy's.

const madeUpSecret = "made-up-for-the-measurement"

// instagram starts the stand-in for Instagram with TLS. ca is the path of its authority's
// certificate.
func (b *bench) instagram(latency string) (s *server, ca string, err error) {
	addr, err := free()
	if err != nil {
		return nil, "", err
	}
	ca = b.path("mock-ca.pem")
	s, err = b.start("mock", loadCore, "https://"+addr, "https://"+addr+"/__stats", nil,
		b.igproxy, "mock", "--listen", addr, "--tls", "--ca-out", ca, "--latency", latency)
	return s, ca, err
}

// origin starts the upstream of nginx and Varnish, which serves plain HTTP. In some measurements it
// is also igproxy's upstream.
func (b *bench) origin(latency string) (*server, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	return b.start("origin", loadCore, "http://"+addr, "http://"+addr+healthPath, nil, b.self, "origin", addr, latency)
}

// sidecar starts igproxy with its default configuration, except for the client secret, the ports,
// the upstream and the given settings. Each setting is an environment variable without its prefix
// IGPROXY_, such as CACHE_MAX_BYTES=1KiB. ca is the path of the upstream's CA certificate; it is
// empty if the upstream serves plain HTTP.
func (b *bench) sidecar(name, upstream, ca string, settings ...string) (*server, error) {
	env, url, health, err := b.sidecarEnv(upstream, ca, settings...)
	if err != nil {
		return nil, err
	}
	return b.start(name, serverCore, url, health, env, b.igproxy, "serve")
}

func (b *bench) sidecarEnv(upstream, ca string, settings ...string) (env []string, url, health string, err error) {
	listen, err := free()
	if err != nil {
		return nil, "", "", err
	}
	admin, err := free()
	if err != nil {
		return nil, "", "", err
	}
	settings = append(settings, "CLIENT_SECRET="+madeUpSecret, "LISTEN="+listen, "ADMIN_LISTEN="+admin, "UPSTREAM_URL="+upstream)
	if ca != "" {
		settings = append(settings, "UPSTREAM_CA_FILE="+ca)
	}
	for _, s := range settings {
		env = append(env, "IGPROXY_"+s)
	}
	return env, "http://" + listen, "http://" + admin + healthPath, nil
}

// nginxConf is based on the settings of the Debian package. Two changes are in nginx's favour: its
// access log is off, and keepalive_requests is raised, because otherwise nginx would close each of
// wrk's connections after 1,000 requests.
const nginxConf = `daemon off;
worker_processes 1;
worker_rlimit_nofile 60000;
pid DIR/nginx.pid;
error_log stderr warn;
events { worker_connections CONNECTIONS; }
http {
  sendfile on;
  tcp_nopush on;
  types_hash_max_size 2048;
  default_type application/octet-stream;
  access_log off;
  client_body_temp_path DIR/nginx-body;
  fastcgi_temp_path DIR/nginx-fastcgi;
  uwsgi_temp_path DIR/nginx-uwsgi;
  scgi_temp_path DIR/nginx-scgi;
  proxy_temp_path DIR/nginx-proxy;
  proxy_cache_path DIR/nginx-cache levels=1:2 keys_zone=tokens:64m max_size=4g inactive=1h use_temp_path=off;
  keepalive_requests 1000000000;
  upstream origin { server ORIGIN; keepalive 64; keepalive_requests 1000000000; }
  server {
    listen ADDR;
    location = /healthz { return 200 "ok"; }
    location = /access_token {
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_cache tokens;
      proxy_cache_key $args;
      proxy_cache_lock on;
      proxy_cache_valid 200 1h;
      proxy_ignore_headers Cache-Control Expires;
      add_header X-Cache-Status $upstream_cache_status;
    }
  }
}
`

// Numbers of connections for which nginx reserves memory when it starts.
const (
	debianConnections = 768
	enoughConnections = 25_000 // for 10,000 clients
)

func (b *bench) nginx(origin *server) (*server, error) { return b.nginxFor(enoughConnections, origin) }

func (b *bench) nginxFor(connections int, origin *server) (*server, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	args, err := b.nginxArgs(addr, connections, origin)
	if err != nil {
		return nil, err
	}
	return b.start("nginx", serverCore, "http://"+addr, "http://"+addr+healthPath, nil, args...)
}

func (b *bench) nginxArgs(addr string, connections int, origin *server) ([]string, error) {
	program, err := find("nginx")
	if err != nil {
		return nil, err
	}
	conf := b.path("nginx.conf")
	_ = os.RemoveAll(b.path("nginx-cache"))
	text := strings.NewReplacer("DIR", b.dir, "ADDR", addr, "CONNECTIONS", strconv.Itoa(connections), "ORIGIN", strings.TrimPrefix(origin.url, "http://")).Replace(nginxConf)
	return []string{program, "-e", "stderr", "-p", b.dir, "-c", conf}, os.WriteFile(conf, []byte(text), 0o644)
}

// varnishVCL caches for an hour and ignores the origin's Cache-Control.
const varnishVCL = `vcl 4.1;
backend default { .host = "HOST"; .port = "PORT"; }
sub vcl_recv {
  if (req.url == "/healthz") { return (synth(200)); }
  return (hash);
}
sub vcl_backend_response {
  set beresp.ttl = 1h;
  return (deliver);
}
`

// varnish starts Varnish with its default threads and with storage in memory. Varnish always writes
// its log to shared memory.
func (b *bench) varnish(origin *server) (*server, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	args, err := b.varnishArgs(addr, origin)
	if err != nil {
		return nil, err
	}
	return b.start("varnish", serverCore, "http://"+addr, "http://"+addr+healthPath, nil, args...)
}

func (b *bench) varnishArgs(addr string, origin *server) ([]string, error) {
	program, err := find("varnishd")
	if err != nil {
		return nil, err
	}
	host, port, _ := strings.Cut(strings.TrimPrefix(origin.url, "http://"), ":")
	vcl, work := b.path("varnish.vcl"), b.path("varnish-"+filepath.Base(strings.ReplaceAll(addr, ":", "-")))
	text := strings.NewReplacer("HOST", host, "PORT", port).Replace(varnishVCL)
	return []string{program, "-F", "-f", vcl, "-a", addr, "-n", work, "-s", "malloc,512m"}, os.WriteFile(vcl, []byte(text), 0o644)
}

// bare starts a net/http server whose handler does only what a hit needs.
func (b *bench) bare() (*server, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	return b.start("bare", serverCore, "http://"+addr, "http://"+addr+healthPath, nil, b.self, "bare", addr)
}

// redis starts a Redis without persistence.
func (b *bench) redis() (*server, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	program, err := find("redis-server")
	if err != nil {
		return nil, err
	}
	_, port, _ := strings.Cut(addr, ":")
	s, err := b.spawn("redis", loadCore, "redis://"+addr, nil, program, "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", b.dir)
	if err != nil {
		return nil, err
	}
	return s, b.until("redis replies to PING", func() bool { said, err := s.command("PING"); return err == nil && said == "PONG" })
}

// token returns the nth token, which is as long as Instagram's tokens.
func token(n int) string {
	return "IGAA" + strings.Repeat("peerspeers", 17)[:169] + fmt.Sprintf("%07d", n)
}

// target returns the path and query of the exchange of the nth token.
func target(n int) string { return targetHead + strconv.Itoa(10_000_000 + n)[1:] }

// targetHead is what all targets have in common: the whole target except the token's last 7 digits.
var targetHead = func() string {
	whole := "/access_token?grant_type=ig_exchange_token&access_token=" + token(0)
	return whole[:len(whole)-7]
}()
