package mock

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func clientTLS(s *Server) *tls.Config {
	return &tls.Config{RootCAs: s.CA(), MinVersion: tls.VersionTLS12}
}

func TestCertificateCoversHostsOfMetaAndLocalNames(t *testing.T) {
	s := newStand(t, ServerOptions{TLS: true})
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "graph.instagram.com", "graph.threads.com", "graph.facebook.com"} {
		c := clientTLS(s.server)
		c.ServerName = name
		conn, err := tls.Dial("tcp", s.server.Addr, c)
		if err != nil {
			t.Errorf("%s: got error %v, want a valid certificate", name, err)
			continue
		}
		conn.Close()
	}
	block, rest := pem.Decode(s.server.CAPEM)
	if block == nil || len(rest) > 0 || block.Type != "CERTIFICATE" {
		t.Fatalf("CAPEM: got %s, want one certificate in PEM", s.server.CAPEM)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(s.server.CAPEM) || !pool.Equal(s.server.CA()) {
		t.Error("CA: got a pool that differs from CAPEM, want only the certificate in CAPEM")
	}
	if !strings.HasPrefix(s.server.URL, "https://127.0.0.1:") {
		t.Errorf("got URL %s, want https://127.0.0.1 with a port", s.server.URL)
	}
}

func TestClientsRefuseDefectiveCertificates(t *testing.T) {
	for name, c := range map[string]struct {
		o        ServerOptions
		expected func(error) bool
	}{
		"expired": {ServerOptions{TLS: true, Expired: true}, func(err error) bool {
			var e x509.CertificateInvalidError
			return errors.As(err, &e) && e.Reason == x509.Expired
		}},
		"wrong name": {ServerOptions{TLS: true, WrongName: true}, func(err error) bool {
			var e x509.HostnameError
			return errors.As(err, &e)
		}},
	} {
		s := newStand(t, c.o)
		if a := s.exchange(t, "IGAA-1"); !c.expected(a.err) {
			t.Errorf("%s: got %d (error %v), want the error about the certificate", name, a.status, a.err)
		}
		if n := s.Calls(); n != 0 {
			t.Errorf("%s: the stand-in got %d calls, want 0", name, n)
		}
	}
	s := newStand(t, ServerOptions{TLS: true})
	s.transport.TLSClientConfig.RootCAs = x509.NewCertPool()
	var unknown x509.UnknownAuthorityError
	if a := s.exchange(t, "IGAA-1"); !errors.As(a.err, &unknown) {
		t.Errorf("unknown authority: got %d (error %v), want the error about the authority", a.status, a.err)
	}
}

func TestCloseEndsWhatHangs(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		s := newStand(t, ServerOptions{TLS: overTLS})
		tokens := []string{"hang-1", "hangbody-1", "drip-1", "endless-1", "slow-1"}
		var wg sync.WaitGroup
		for _, token := range tokens {
			wg.Go(func() {
				if a := s.exchange(t, token); a.err == nil && !strings.HasPrefix(token, "slow") {
					t.Errorf("%s: got %d %.100s, want an error", token, a.status, a.body)
				}
			})
		}
		eventually(t, "all are in flight", func() bool { return s.Calls() == len(tokens) })
		began := time.Now()
		s.server.Close()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("Close took %s, want at most 5s", took)
		}
		if n := s.currentCounters().stats().InFlight; n != 0 {
			t.Errorf("%d requests in flight after Close, want 0", n)
		}
		wg.Wait()
		s.server.Close() // a second Close does nothing
		if _, err := net.Dial("tcp", s.server.Addr); err == nil {
			t.Error("a dial after Close: got a connection, want an error")
		}
	}
}

// A server that is closed and started again on the same address looks like an outage to clients.
func TestInstagramOutlivesItsServer(t *testing.T) {
	s := newStand(t, ServerOptions{})
	s.exchange(t, "IGAA-1")
	s.server.Close()
	if a := s.exchange(t, "IGAA-1"); a.err == nil {
		t.Errorf("got %d while the server is closed, want an error", a.status)
	}
	again, err := Start(s.Instagram, ServerOptions{Addr: s.server.Addr})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if a := s.exchange(t, "IGAA-1"); a.status != 200 || s.CallsFor("IGAA-1") != 2 {
		t.Errorf("after the restart: got %d (error %v), want 200; %d calls, want 2", a.status, a.err, s.CallsFor("IGAA-1"))
	}
}

// httptest.Server.Close only waits for handlers. It does not end them.
func TestInstagramCloseReleasesHandlersOfAnyServer(t *testing.T) {
	i := New(Options{Latency: time.Hour})
	server := httptest.NewServer(i)
	defer server.Close() // waits for its handlers
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	done := make(chan error)
	go func() {
		_, err := (&http.Client{Transport: tr}).Get(server.URL + "/access_token?" + query("IGAA-1"))
		done <- err
	}()
	eventually(t, "the call arrived", func() bool { return i.Calls() >= 1 })
	i.Close()
	if err := <-done; err == nil {
		t.Error("got a response, want an error")
	}
}

func TestTheServersAddressIsReachable(t *testing.T) {
	s := newStand(t, ServerOptions{Addr: ":0"})
	if !strings.HasPrefix(s.server.URL, "http://127.0.0.1:") || s.server.CA() != nil || s.server.CAPEM != nil {
		t.Errorf("URL: got %s, want http://127.0.0.1 with a port; CA: got %v, want nil; CAPEM: got %q, want nil", s.server.URL, s.server.CA(), s.server.CAPEM)
	}
	if a := s.exchange(t, "IGAA-1"); a.status != 200 {
		t.Errorf("got %d (error %v), want 200", a.status, a.err)
	}
	for _, o := range []ServerOptions{{Addr: s.server.Addr}, {Addr: "nonsense"}, {Addr: s.server.Addr, TLS: true}} {
		if other, err := Start(s.Instagram, o); err == nil {
			other.Close()
			t.Errorf("%+v: Start succeeded, want an error", o)
		}
	}
}
