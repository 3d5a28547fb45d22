// Package redistest runs real redis-servers for tests: on free loopback ports, without persistence,
// in a temporary folder of the test. It never touches a server that it did not start.
package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience limits the wait for a server to start or to reply. The limit in eventually is twice as
// long.
const patience = 20 * time.Second

// Options configure a Server.
type Options struct {
	// Password is what clients must send. Empty means no password.
	Password string
	// TLS makes the port a TLS port, with a temporary certificate for 127.0.0.1 and TLSName.
	TLS bool
	// Unix adds a Unix socket.
	Unix bool
	// Args are added to the command line.
	Args []string

	port int // 0 means a free port
}

// Server is a running redis-server.
type Server struct {
	t       testing.TB
	options Options
	dir     string
	port    int
	cmd     *exec.Cmd
	exited  chan struct{}
	ca      *x509.CertPool
	caPEM   []byte
}

// Start starts a server and stops it at the end of the test.
func Start(t testing.TB, options ...Options) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), port: FreePort(t)}
	for _, o := range options {
		s.options = o
	}
	if s.options.port != 0 {
		s.port = s.options.port
	}
	if s.options.TLS {
		s.certificate()
	}
	s.run()
	t.Cleanup(s.Kill)
	return s
}

func (s *Server) run() {
	s.t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redis-server not found: run `make test`, which installs it")
	}
	port, tlsPort := s.port, 0
	if s.options.TLS {
		port, tlsPort = 0, s.port
	}
	args := []string{"--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--save", "", "--appendonly", "no", "--dir", s.dir, "--loglevel", "warning"}
	if tlsPort != 0 {
		args = append(args, "--tls-port", strconv.Itoa(tlsPort), "--tls-cert-file", s.file("cert.pem"), "--tls-key-file", s.file("key.pem"),
			"--tls-ca-cert-file", s.file("cert.pem"), "--tls-auth-clients", "no")
	}
	if s.options.Password != "" {
		args = append(args, "--requirepass", s.options.Password)
	}
	if s.options.Unix {
		args = append(args, "--unixsocket", s.file("redis.sock"))
	}
	s.cmd = exec.Command(binary, append(args, s.options.Args...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { // ends with the process
		_ = cmd.Wait()
		close(exited)
	}(s.cmd, s.exited)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if c, err := s.dial(); err == nil {
			_, err = c.do("PING")
			c.close()
			if err == nil {
				return
			}
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("redis-server did not reply to PING within %s", patience)
		}
	}
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// Addr returns host:port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// URL returns the URL for clients, including the password if there is one.
func (s *Server) URL() string {
	scheme, user := "redis://", ""
	if s.options.TLS {
		scheme = "rediss://"
	}
	if s.options.Password != "" {
		user = ":" + s.options.Password + "@"
	}
	return scheme + user + s.Addr() + "/0"
}

// UnixURL returns the URL of the Unix socket.
func (s *Server) UnixURL() string { return "unix://" + s.file("redis.sock") }

// TLSName is a name in the certificate. It does not resolve.
const TLSName = "redis.invalid"

// CA returns a pool with the certificate of a TLS server.
func (s *Server) CA() *x509.CertPool { return s.ca }

// CAPEM returns the certificate of a TLS server in PEM.
func (s *Server) CAPEM() []byte { return s.caPEM }

// CertPEM returns the certificate of a TLS server and its key. The server accepts the certificate
// from clients, too.
func (s *Server) CertPEM() (cert, key []byte) {
	s.t.Helper()
	key, err := os.ReadFile(s.file("key.pem"))
	if err != nil {
		s.t.Fatal(err)
	}
	return s.caPEM, key
}

// Pause suspends the server: it keeps its connections and answers nothing.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume continues a server that Pause suspended.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("signalling redis-server: %v", err)
	}
}

// Kill kills the server and waits until it has exited. It may be called more than once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.exited
}

// FailSnapshot makes a snapshot fail, so that Redis refuses all writes.
func (s *Server) FailSnapshot() {
	s.t.Helper()
	if err := os.RemoveAll(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.Do("CONFIG", "SET", "save", "3600 1")
	s.Do("BGSAVE")
	eventually(s.t, "the snapshot has failed", func() bool {
		return strings.Contains(fmt.Sprint(s.Do("INFO", "persistence")), "rdb_last_bgsave_status:err")
	})
}

func (s *Server) dead() bool {
	select {
	case <-s.exited:
		return true
	default:
		return false
	}
}

// Restart starts the server again on the same port, without its data.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.run()
}

// certificate creates a self-signed certificate that is its own authority.
func (s *Server) certificate() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redistest"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{TLSName}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.ca = x509.NewCertPool()
	s.ca.AppendCertsFromPEM(s.caPEM)
	for name, text := range map[string][]byte{"cert.pem": s.caPEM, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(s.file(name), text, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}
