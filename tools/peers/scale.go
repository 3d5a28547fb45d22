package main

import (
	"fmt"
	"strings"
)

const million = 1_000_000

// scale measures what a hit costs with many tokens and with many connections, compared with one
// token and few connections. The cases take turns. nginx is measured with one token only, and
// without additional idle connections. All tokens are exchanged beforehand. The upstream is the
// origin, because the origin is faster than the stand-in.
func (b *bench) scale() error {
	origin, err := b.origin("0s")
	if err != nil {
		return err
	}
	var all [3]*server
	for i, name := range []string{"one", "tokens", "open"} {
		if all[i], err = b.sidecar("igproxy-"+name, origin.url, "", "CACHE_MAX_BYTES=2048MiB",
			fmt.Sprint("SERVER_MAX_CONNECTIONS=", manyConnections+1000)); err != nil {
			return err
		}
	}
	nginx, err := b.nginx(origin)
	if err != nil {
		return err
	}
	one, tokens, open := all[0], all[1], all[2]
	for s, n := range map[*server]int{one: 1, tokens: million, open: 1, nginx: 1} {
		if _, err := warm(s, 0, n); err != nil {
			return err
		}
	}
	release, err := hold(open, manyConnections)
	if err != nil {
		return err
	}
	defer release()
	b.pause(idleTime)
	alone, amongTokens, amongOpen, allBusy := figures{}, figures{}, figures{}, figures{}
	for i := range b.rounds + 1 { // round 0 is a warm-up, not counted
		for _, c := range []struct {
			s                            *server
			tokens, connections, seconds int
			to                           figures
		}{
			{one, 1, busy, b.seconds, alone},
			{tokens, million, busy, b.seconds, amongTokens},
			{open, 1, busy, b.seconds, amongOpen},
			{one, 1, manyConnections, 3 * b.seconds, allBusy}, // longer, so that opening the connections matters little
			{nginx, 1, busy, b.seconds, alone},
			{nginx, 1, manyConnections, 3 * b.seconds, allBusy},
		} {
			r, err := b.load(c.s, c.tokens, c.connections, c.seconds)
			if err != nil {
				return err
			}
			if i > 0 {
				name, _, _ := strings.Cut(c.s.name, "-") // igproxy-one, igproxy-tokens and igproxy-open share a column
				c.to.add(name, r.cpu)
			}
		}
	}
	b.report.add("scale.one", "CPU for a million hits: 1 token, 64 connections", "s", alone, nil)
	b.report.add("scale.tokens", "the same with 1,000,000 remembered tokens, relative to 1 token", "×", growth(amongTokens, alone), atMost(1.3))
	b.report.add("scale.open", "the same with 10,000 additional idle connections, relative to none", "×", growth(amongOpen, alone), atMost(1.3))
	b.report.add("scale.busy", "the same with 10,000 connections that all ask at once, relative to 64", "×", growth(allBusy, alone), atMost(1.3))
	return nil
}

// growth returns each round's value divided by the base value of the same round.
func growth(f, base figures) figures {
	g := figures{}
	for server, values := range f {
		for i, v := range values {
			g.add(server, v/base[server][i])
		}
	}
	return g
}
