package listener

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestAnHTTP2ClientWithoutALPNIsToldToUseHTTP1(t *testing.T) {
	for name, secure := range map[string]bool{"plain": false, "TLS without ALPN": true} {
		t.Run(name, func(t *testing.T) {
			var requested atomic.Bool
			s, client := servingOn(t, loopback(t), secure, false, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requested.Store(true) }))
			transport := client.Transport.(*http.Transport)
			c, err := transport.DialContext(t.Context(), "tcp", s.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if secure {
				c = tls.Client(c, &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, ServerName: "example.com"})
			}
			defer c.Close()
			// The preface, SETTINGS, and more zero bytes than the server reads at once.
			if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"+strings.Repeat("\x00", 8<<10)); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if settings := []byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil || !bytes.HasPrefix(got, settings) ||
				!bytes.HasSuffix(got, []byte("\x00\x00\x00\x0d"+http2Refusal)) {
				t.Errorf("got %q (error: %v), want a SETTINGS frame and a GOAWAY with the refusal", got, err)
			}
			if requested.Load() {
				t.Error("requests that reached the handler: got the preface, want none")
			}
		})
	}
}

func TestAnHTTP2ClientReportsTheRefusal(t *testing.T) {
	s, client := servingOn(t, loopback(t), false, false, hello)
	transport := client.Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	transport.Protocols = &http.Protocols{}
	transport.Protocols.SetUnencryptedHTTP2(true)
	// If the client reads the GOAWAY before it has sent its request, net/http reports only that no
	// connection could be established. Then the test tries again.
	for {
		_, err := (&http.Client{Transport: transport}).Get("http://" + s.Addr().String())
		if err == nil || !strings.Contains(err.Error(), "HTTP_1_1_REQUIRED") && !strings.Contains(err.Error(), "could not be established") {
			t.Fatalf("got %v, want the error HTTP_1_1_REQUIRED", err)
		}
		if strings.Contains(err.Error(), "HTTP_1_1_REQUIRED") {
			return
		}
	}
}
