package main

// hits measures hits in memory, for one token and for many tokens. The servers take turns, so that
// changes in the machine's load affect all of them.
func (b *bench) hits() error {
	all, err := b.hitServers()
	if err != nil {
		return err
	}
	for _, tokens := range []int{1, manyTokens} {
		for _, s := range all {
			if _, err := warm(s, 0, tokens); err != nil {
				return err
			}
		}
		cpu, rps, p99 := figures{}, figures{}, figures{}
		for i := range b.rounds + 1 {
			for _, s := range all {
				seconds := b.seconds
				if i == 0 { // warm-up, not counted
					seconds = 1
				}
				r, err := b.load(s, tokens, busy, seconds)
				if err != nil {
					return err
				}
				if i > 0 {
					cpu.add(s.name, r.cpu)
					rps.add(s.name, r.rps)
					p99.add(s.name, r.p99)
				}
			}
		}
		what, key, ofNginx := "1 token", "hit1", 0.55
		if tokens > 1 {
			what, key, ofNginx = "10,000 tokens", "hit10k", 0.45
		}
		b.report.add(key+".cpu", "CPU for a million hits, "+what, "s", cpu, atMost(ofNginx, nginxName))
		b.report.add(key+".fasthttp", "the same, divided by fasthttp's", "×", against(fasthttpName, cpu), atMost(0.9))
		b.report.add(key+".floor", "the same, divided by the epoll loop's", "×", against(floorName, cpu), atMost(1.45))
		b.report.add(key+".rps", "hits a second, "+what, "/s", rps, atLeast(1.5, nginxName))
		b.report.add(key+".p99", "p99 of a hit, "+what, "ms", p99, atMost(1, nginxName))
	}
	return nil
}

// against returns, for each round, igproxy's value divided by the other server's value.
func against(other string, f figures) figures {
	return growth(figures{sidecarName: f[sidecarName]}, figures{sidecarName: f[other]})
}

const (
	busy       = 64 // connections that wrk opens
	manyTokens = 10_000
	nginxName  = "nginx"
)

func (b *bench) hitServers() ([]*server, error) {
	origin, err := b.origin("0s")
	if err != nil {
		return nil, err
	}
	mock, ca, err := b.instagram("0s")
	if err != nil {
		return nil, err
	}
	nginx, err := b.nginx(origin)
	if err != nil {
		return nil, err
	}
	sidecar, err := b.sidecar("igproxy", mock.url, ca)
	if err != nil {
		return nil, err
	}
	varnish, err := b.varnish(origin)
	if err != nil {
		return nil, err
	}
	bare, err := b.bare()
	if err != nil {
		return nil, err
	}
	fast, err := b.fasthttp()
	if err != nil {
		return nil, err
	}
	floor, err := b.floor(sidecar)
	return []*server{nginx, sidecar, varnish, bare, fast, floor}, err
}
