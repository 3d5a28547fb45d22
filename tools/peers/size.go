package main

import (
	"fmt"
	"os"
	"time"
)

const (
	manyConnections = 10_000
	rememberedMany  = 100_000
	settle          = 2 * time.Second // after which memory is looked at
	mib             = 1 << 20
)

// sizes are memory, the start and the binary.
func (b *bench) sizes() error {
	info, err := os.Stat(b.igproxy)
	if err != nil {
		return err
	}
	origin, err := b.origin("0s")
	if err != nil {
		return err
	}
	idle, perToken, perConnection, starts := figures{}, figures{}, figures{}, figures{}
	for range b.rounds {
		nginx, err := b.nginx(origin)
		if err != nil {
			return err
		}
		varnish, err := b.varnish(origin)
		if err != nil {
			return err
		}
		sidecar, err := b.sidecar("igproxy", origin.url, "")
		if err != nil {
			return err
		}
		tokens, err := b.sidecar("igproxy-tokens", origin.url, "", fmt.Sprint("CACHE_MAX_ENTRIES=", 2*rememberedMany))
		if err != nil {
			return err
		}
		connections, err := b.sidecar("igproxy-connections", origin.url, "", fmt.Sprint("SERVER_MAX_CONNECTIONS=", manyConnections+1000))
		if err != nil {
			return err
		}
		b.pause(settle)
		for _, s := range []*server{nginx, varnish, sidecar} {
			idle.add(s.name, s.pss()/mib)
		}
		each, err := b.bytesPerToken(tokens)
		if err != nil {
			return err
		}
		perToken.add(sidecarName, each)
		for _, s := range []*server{nginx, connections} {
			each, err := b.bytesPerConnection(s)
			if err != nil {
				return err
			}
			name := nginxName
			if s == connections {
				name = sidecarName
			}
			perConnection.add(name, each/1024)
		}
		for _, s := range []*server{nginx, varnish, sidecar, tokens, connections} {
			if err := s.stop(); err != nil {
				return err
			}
		}
		b.running = b.running[:1] // the origin
		if err := b.starts(origin, starts); err != nil {
			return err
		}
		b.say("idle %.1f MiB, a token %.0f bytes, a connection %.1f KiB", last(idle, sidecarName), last(perToken, sidecarName), last(perConnection, sidecarName))
	}
	b.report.add("idle", "idle: PSS", "MiB", idle, atMost(15))
	b.report.add("token", "a remembered token, beyond the answer's own bytes", "bytes", perToken, atMost(1024))
	b.report.add("connection", "a kept idle connection", "KiB", perConnection, atMost(12))
	b.report.add("start", "start to first answer", "ms", starts, atMost(50))
	b.report.add("binary", "the binary, stripped", "MB", figures{sidecarName: {float64(info.Size()) / 1e6}}, atMost(20))
	return nil
}

func last(f figures, server string) float64 { return f[server][len(f[server])-1] }

// bytesPerToken is what the process grew by, the garbage collector's headroom included, less the bytes of the answers themselves.
func (b *bench) bytesPerToken(s *server) (float64, error) {
	before := s.pss()
	length, err := warm(s, 0, rememberedMany)
	if err != nil {
		return 0, err
	}
	b.pause(settle)
	return (s.pss()-before)/rememberedMany - float64(length), nil
}

// bytesPerConnection is what the process grew by; the kernel's own bytes are not in it.
func (b *bench) bytesPerConnection(s *server) (float64, error) {
	before := s.pss()
	release, err := hold(s, manyConnections)
	if err != nil {
		return 0, err
	}
	defer release()
	b.pause(settle)
	return (s.pss() - before) / manyConnections, nil
}

// starts measures from the program's start to the first 200.
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
				args, err = b.nginxArgs(addr, origin)
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
					return s.failed("does not answer")
				}
				time.Sleep(200 * time.Microsecond)
			}
			to.add(name, float64(time.Since(begun))/float64(time.Millisecond))
			if err := s.stop(); err != nil {
				return err
			}
			b.running = b.running[:len(b.running)-1]
		}
	}
	return nil
}
