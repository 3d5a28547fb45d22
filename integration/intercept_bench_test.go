package integration

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// BenchmarkIntercepted measures igproxy's CPU time for a hit on a kept connection. Rounds on a
// direct connection to the TLS listener alternate with rounds on an intercepted connection. The
// metric "x" is the time for the intercepted connection divided by the time for the direct
// connection. The benchmark needs Linux.
func BenchmarkIntercepted(b *testing.B) {
	const rounds, requests = 4, 20_000
	_, upstream := instagram(b, mock.ServerOptions{})
	a := harness.NewAuthority(b)
	cert, key := a.Sign(b, "igproxy")
	p := harness.Intercept(b, harness.Plain(b), "UPSTREAM_URL="+upstream.URL, "TLS_CERT_FILE="+file(b, "cert.pem", cert), "TLS_KEY_FILE="+file(b, "key.pem", key),
		"LOG_LEVEL=info")
	for _, http2 := range []bool{false, true} {
		b.Run(map[bool]string{false: "HTTP1", true: "HTTP2"}[http2], func(b *testing.B) {
			direct := a.Client(b, nil, true)
			direct.Transport.(*http.Transport).ForceAttemptHTTP2 = http2
			if !http2 {
				direct.Transport.(*http.Transport).TLSNextProto = nil
			}
			ways := []struct {
				client *http.Client
				url    string
			}{{direct, p.URL}, {p.Client(b, http2), "https://" + metaHost}}
			for b.Loop() {
				var used [2]float64
				for round := range 2 * rounds {
					way := ways[round%2]
					target := way.url + exchangePath("IGAA-known")
					// The first request opens the connection, and is not measured.
					if r, err := fetch(b.Context(), way.client, target); err != nil || r.status != 200 {
						b.Fatalf("%s: got %d, %v; want 200", target, r.status, err)
					}
					before := cpuTime(b, p.Cmd.Process.Pid)
					for range requests {
						if r, err := fetch(b.Context(), way.client, target); err != nil || r.status != 200 {
							b.Fatalf("%s: got %d, %v; want 200", target, r.status, err)
						}
					}
					used[round%2] += cpuTime(b, p.Cmd.Process.Pid) - before
				}
				b.ReportMetric(used[0]/(rounds*requests)*1e6, "µs/TLS")
				b.ReportMetric(used[1]/(rounds*requests)*1e6, "µs/intercepted")
				b.ReportMetric(used[1]/used[0], "x")
			}
		})
	}
}

// cpuTime returns the CPU time of a process, in seconds.
func cpuTime(b *testing.B, pid int) float64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, err1 := strconv.Atoi(fields[11])
	kernel, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return float64(user+kernel) / 100 // the kernel counts in hundredths of a second
}
