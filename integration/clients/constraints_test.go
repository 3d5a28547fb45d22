package clients

import (
	"crypto/tls"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// If a thief signs a certificate for another site with the authority's key, OpenSSL and Node.js
// refuse the certificate because of the authority's name constraints. They accept a certificate for
// Meta's hosts, which shows that the refusals have no other reason.
func TestOpenSSLAndNodeRefuseTheAuthoritysCertificatesForOtherNames(t *testing.T) {
	made := harness.MakeAuthority(t)
	const node = `require('tls').connect({ host: '127.0.0.1', port: process.argv[1], servername: process.argv[2], ca: require('fs').readFileSync(process.argv[3]) },
  function () { console.log('accepted'); this.end(); }).on('error', (e) => { console.log(e.code + ' ' + e.message); })`
	// The values are texts of the errors; empty: the certificate must be accepted.
	for name, want := range map[string]string{"graph.instagram.com": "", "graph.facebook.com": "", "graph.threads.net": "", "graph.threads.com": "",
		"example.com": "permitted subtree violation", "instagram.com.example": "permitted subtree violation", "127.0.0.1": "excluded subtree violation"} {
		t.Run(name, func(t *testing.T) {
			cert, key := made.Sign(t, name)
			pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
			if err != nil {
				t.Fatal(err)
			}
			l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
			if err != nil {
				t.Fatal(err)
			}
			go func() { // ends when l is closed
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_ = c.(*tls.Conn).Handshake()
					_ = c.Close()
				}
			}()
			t.Cleanup(func() { _ = l.Close() })
			_, port, _ := net.SplitHostPort(l.Addr().String())
			for program, args := range map[string][]string{
				"openssl verify":   {"openssl", "verify", "-CAfile", made.Cert, harness.File(t, "leaf.pem", cert)},
				"openssl s_client": {"openssl", "s_client", "-connect", "127.0.0.1:" + port, "-servername", name, "-CAfile", made.Cert, "-verify_return_error"},
				"node":             {"node", "-e", node, port, name, made.Cert},
			} {
				out, _ := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput()
				accepted := strings.Contains(string(out), "leaf.pem: OK") || strings.Contains(string(out), "Verify return code: 0 (ok)") || string(out) == "accepted\n"
				if accepted != (want == "") || !strings.Contains(string(out), want) {
					t.Errorf("%s: certificate accepted: got %t, want %t; output must contain %q, got\n%s", program, accepted, want == "", want, out)
				}
			}
		})
	}
}
