package main

import (
	"fmt"
	"os"
	"time"
)

const (
	manyConnections = 10_000
	rememberedMany  = 100_000         // the tokens over which bytesPerToken averages
	idleTime        = 2 * time.Second // a pause before a measurement, so that the server is idle
)

// sizes measures memory, the time to start and the size of the binary. Only one sidecar runs at a
// time, because PSS counts only half of a page that two processes share. The stand-in is the same
// binary and runs all the time, so PSS still counts some of the binary's pages only in part.
func (b *bench) sizes() error {
	info, err := os.Stat(b.igproxy)
	if err != nil {
		return err
	}
	origin, err := b.origin("0s")
	if err != nil {
		return err
	}
	mock, ca, err := b.instagram("0s")
	if err != nil {
		return err
	}
	sidecar := func(settings ...string) func() (*server, error) {
		return func() (*server, error) { return b.sidecar(sidecarName, origin.url, "", settings...) }
	}
	nginx := func() (*server, error) { return b.nginxFor(debianConnections, origin) }
	largeNginx := func() (*server, error) { return b.nginx(origin) }
	varnish := func() (*server, error) { return b.varnish(origin) }
	withTLS := func() (*server, error) { return b.sidecar(sidecarName, mock.url, ca) }
	idle, idlePrivate, loaded := figures{}, figures{}, figures{}
	perToken, perConnection, starts := figures{}, figures{}, figures{}
	for range b.rounds {
		for _, c := range []struct {
			start   func() (*server, error)
			to      figures
			measure func(*server) (float64, error)
		}{
			{nginx, idle, megabytes(pss)},
			{varnish, idle, megabytes(pss)},
			{sidecar(), idle, megabytes(pss)},
			{nginx, idlePrivate, megabytes(private)},
			{varnish, idlePrivate, megabytes(private)},
			{sidecar(), idlePrivate, megabytes(private)},
			{nginx, loaded, b.megabytesAfterLoad},
			{withTLS, loaded, b.megabytesAfterLoad},
			{sidecar("CACHE_MAX_BYTES=256MiB"), perToken, b.bytesPerToken},
			{largeNginx, perConnection, b.kibPerConnection},
			{sidecar(fmt.Sprint("SERVER_MAX_CONNECTIONS=", manyConnections+1000)), perConnection, b.kibPerConnection},
		} {
			s, err := c.start()
			if err != nil {
				return err
			}
			b.pause(idleTime)
			value, err := c.measure(s)
			if err != nil {
				return err
			}
			c.to.add(s.name, value)
			if err := b.stopLast(); err != nil {
				return err
			}
		}
		if err := b.starts(origin, starts); err != nil {
			return err
		}
		b.say("igproxy: idle %.1f MB, private %.1f MB, after load %.1f MB, a token %.0f bytes, a connection %.1f KiB",
			last(idle), last(idlePrivate), last(loaded), last(perToken), last(perConnection))
	}
	b.report.add("idle", "idle: PSS", "MB", idle, nil)
	b.report.add("idle.private", "idle: private memory, without the binary's pages", "MB", idlePrivate, atMost(6))
	b.report.add("loaded", "after hits for 10,000 tokens over 64 connections: PSS", "MB", loaded, atMost(20))
	b.report.add("token", "a remembered token, in addition to the answer's own bytes", "bytes", perToken, atMost(1024))
	b.report.add("connection", "a kept idle connection", "KiB", perConnection, atMost(5))
	b.report.add("start", "start to first response", "ms", starts, atMost(50))
	b.report.add("binary", "the binary, stripped", "MB", figures{sidecarName: {float64(info.Size()) / 1e6}}, nil)
	return nil
}

func last(f figures) float64 { return f[sidecarName][len(f[sidecarName])-1] }

// megabytes returns a function that measures a server's memory of this kind in MB.
func megabytes(kind string) func(*server) (float64, error) {
	return func(s *server) (float64, error) {
		bytes, err := s.memory(kind)
		return bytes / 1e6, err
	}
}

// megabytesAfterLoad returns the PSS, in MB, of a server that has exchanged many tokens and then
// answered hits for them.
func (b *bench) megabytesAfterLoad(s *server) (float64, error) {
	if _, err := warm(s, 0, manyTokens); err != nil {
		return 0, err
	}
	if _, err := b.load(s, manyTokens, busy, b.seconds); err != nil {
		return 0, err
	}
	b.pause(idleTime)
	return megabytes(pss)(s)
}

// bytesPerToken returns the growth of the process's PSS per token, in bytes. This includes the
// garbage collector's headroom, but not the length of the response's body.
func (b *bench) bytesPerToken(s *server) (float64, error) {
	before, err := s.memory(pss)
	if err != nil {
		return 0, err
	}
	length, err := warm(s, 0, rememberedMany)
	if err != nil {
		return 0, err
	}
	b.pause(idleTime)
	after, err := s.memory(pss)
	return (after-before)/rememberedMany - float64(length), err
}

// rest is the time for which connections are idle before their memory is measured.
const rest = 15 * time.Second

// kibPerConnection returns the growth of the process's private memory per connection, in KiB. The
// kernel's memory is not included.
func (b *bench) kibPerConnection(s *server) (float64, error) {
	before, err := s.memory(private)
	if err != nil {
		return 0, err
	}
	release, err := hold(s, manyConnections)
	if err != nil {
		return 0, err
	}
	defer release()
	b.pause(rest)
	after, err := s.memory(private)
	return (after - before) / manyConnections / 1024, err
}

// starts measures the time from a program's start to its first response with status 200.
func (b *bench) starts(origin *server, to figures) error {
	for range 5 {
		for _, name := range []string{nginxName, sidecarName, "varnish"} {
			addr, err := free()
			if err != nil {
				return err
			}
			url := "http://" + addr
			health, args, env := url+healthPath, []string{b.igproxy, "serve"}, []string(nil)
			switch name {
			case nginxName:
				args, err = b.nginxArgs(addr, debianConnections, origin)
			case "varnish":
				args, err = b.varnishArgs(addr, origin)
			default:
				env, url, health, err = b.sidecarEnv(origin.url, "")
			}
			if err != nil {
				return err
			}
			begun := time.Now()
			s, err := b.spawn(name+"-start", serverCore, url, env, args...)
			if err != nil {
				return err
			}
			for !answers(health) {
				if time.Since(begun) > patience || b.ctx.Err() != nil {
					return s.failed("does not return 200 at " + health)
				}
				time.Sleep(200 * time.Microsecond)
			}
			to.add(name, float64(time.Since(begun))/float64(time.Millisecond))
			if err := b.stopLast(); err != nil {
				return err
			}
		}
	}
	return nil
}
