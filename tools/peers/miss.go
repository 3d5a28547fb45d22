package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"
)

const firstMiss = 3_000_000 // no other part uses tokens with higher numbers

// misses measures exchanges of cold tokens, through igproxy and directly with the stand-in for
// Instagram over TLS. The direct calls use a kept connection, or a new connection for each
// exchange, as in apps that start a process for each login. The clients take turns.
func (b *bench) misses() error {
	mock, ca, err := b.instagram("0s")
	if err != nil {
		return err
	}
	sidecar, err := b.sidecar("igproxy", mock.url, ca)
	if err != nil {
		return err
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := func(keep bool) *http.Transport {
		return &http.Transport{DisableKeepAlives: !keep, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	through := &misser{base: sidecar.url, client: transport(true)}
	kept := &misser{base: mock.url, client: transport(true), secret: true}
	fresh := &misser{base: mock.url, client: transport(false), secret: true}
	n := firstMiss
	added50, added99, at0, at20 := figures{}, figures{}, figures{}, figures{}
	for range b.rounds {
		through.reset(kept, fresh)
		for range b.seconds * 500 {
			if n, err = inTurn(n, through, kept); err != nil {
				return err
			}
		}
		a50, a99 := through.at(50)-kept.at(50), through.at(99)-kept.at(99)
		added50.add(sidecarName, a50*1000)
		added99.add(sidecarName, a99)
		b.say("upstream latency 0s: p50 through igproxy %.3f ms, direct on a kept connection %.3f ms; p99 through igproxy %.3f ms, direct %.3f ms", through.at(50), kept.at(50), through.at(99), kept.at(99))
		for _, c := range []struct {
			latency string
			to      figures
		}{{"20ms", at20}, {"0s", at0}} {
			if _, err := ask(http.MethodPost, mock.url+"/__latency?d="+c.latency); err != nil {
				return err
			}
			through.reset(fresh)
			for range b.seconds * 15 {
				if n, err = inTurn(n, through, fresh); err != nil {
					return err
				}
			}
			c.to.add(sidecarName, through.at(50))
			c.to.add("direct", fresh.at(50))
			b.say("upstream latency %s: p50 through igproxy %.3f ms, direct with a new connection for each call %.3f ms", c.latency, through.at(50), fresh.at(50))
		}
	}
	b.report.add("miss.p50", "a miss: time added to the p50 of a direct call on a kept TLS connection", "µs", added50, atMost(150))
	b.report.add("miss.p99", "a miss: time added to the p99 of a direct call", "ms", added99, atMost(1))
	b.report.add("fresh0", "p50 of a miss (no sidecar: p50 of a direct call on a new TLS connection), upstream 0 ms", "ms", at0, atMost(1, "direct"))
	b.report.add("fresh20", "the same, upstream 20 ms", "ms", at20, atMost(1, "direct"))
	return nil
}

// misser is a client that exchanges cold tokens and records the time that each exchange takes.
type misser struct {
	base   string
	client *http.Transport
	secret bool      // sends the client secret, as an app without a sidecar does
	took   []float64 // in milliseconds
}

// inTurn lets each misser exchange one cold token, one misser after another. The tokens have the
// numbers from n+1 up. inTurn returns the number of the last token.
func inTurn(n int, all ...*misser) (int, error) {
	for _, m := range all {
		n++
		if err := m.ask(n); err != nil {
			return n, err
		}
	}
	return n, nil
}

func (m *misser) ask(n int) error {
	url := m.base + target(n)
	if m.secret {
		url += "&client_secret=" + madeUpSecret
	}
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	start := time.Now()
	res, err := m.client.RoundTrip(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, res.Body)
	m.took = append(m.took, float64(time.Since(start))/float64(time.Millisecond))
	_ = res.Body.Close()
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s returned %s", m.base, res.Status)
	}
	return err
}

// reset drops all results of m and the others.
func (m *misser) reset(others ...*misser) {
	for _, m := range append(others, m) {
		m.took = m.took[:0]
	}
}

// at returns a percentile of m.took.
func (m *misser) at(percent int) float64 {
	s := slices.Sorted(slices.Values(m.took))
	return s[len(s)*percent/100]
}
