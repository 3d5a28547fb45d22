package authority_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
)

// created returns a new authority, its certificate with its key, and its folder.
func created(t *testing.T) (*authority.Authority, tls.Certificate, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "ca")
	if err := authority.Create(dir); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, authority.CertFile), filepath.Join(dir, authority.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(&pair)
	if err != nil {
		t.Fatal(err)
	}
	return a, pair, dir
}

func rootsOf(t *testing.T, pair tls.Certificate) *x509.CertPool {
	t.Helper()
	root, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return pool
}

func TestTheKeyIsReadableByItsOwnerOnlyAndNeverReplaced(t *testing.T) {
	_, _, dir := created(t)
	for name, want := range map[string]os.FileMode{authority.KeyFile: 0o600, authority.CertFile: 0o644} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: got the mode %v, want %v", name, got, want)
		}
	}
	key := func() string {
		text, err := os.ReadFile(filepath.Join(dir, authority.KeyFile))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	before := key()
	if err := authority.Create(dir); err == nil || !strings.Contains(err.Error(), authority.KeyFile+" exists") {
		t.Errorf("creating a second authority in the folder: got %v, want an error that %s exists", err, authority.KeyFile)
	}
	if key() != before {
		t.Errorf("after a second Create: got another key in %s, want the first one", authority.KeyFile)
	}
	_ = os.Remove(filepath.Join(dir, authority.KeyFile))
	if err := authority.Create(dir); err == nil || !strings.Contains(err.Error(), authority.CertFile+" exists") {
		t.Errorf("creating an authority beside a certificate: got %v, want an error that %s exists", err, authority.CertFile)
	}
	if _, err := os.Stat(filepath.Join(dir, authority.KeyFile)); err == nil {
		t.Errorf("after a failed Create: got a file %s, want no such file", authority.KeyFile)
	}
}

func TestAuthorityIsLimitedToMetasHosts(t *testing.T) {
	a, pair, _ := created(t)
	roots := rootsOf(t, pair)
	for _, host := range []string{"graph.instagram.com", "api.instagram.com", "graph.threads.net", "graph.threads.com", "graph.facebook.com"} {
		leaf, err := a.Leaf(host)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := leaf.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: got the error %v, want a valid certificate", host, err)
		}
		if life := leaf.Leaf.NotAfter.Sub(leaf.Leaf.NotBefore); life > 8*24*time.Hour {
			t.Errorf("%s: the certificate is valid for %v, want at most 8 days", host, life)
		}
	}
	// Even with the authority's key, a thief cannot make valid certificates for other hosts.
	for _, template := range []*x509.Certificate{
		{DNSNames: []string{"example.com"}},
		{DNSNames: []string{"graph.facebook.com", "example.com"}},
		{DNSNames: []string{"notfacebook.com"}},
		{DNSNames: []string{"facebook.com.evil.example"}},
		{DNSNames: []string{"*.com"}},
		{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		{IPAddresses: []net.IP{net.IPv6loopback}},
	} {
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(2), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		root, _ := x509.ParseCertificate(pair.Certificate[0])
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		der, err := x509.CreateCertificate(rand.Reader, template, root, &key.PublicKey, pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		forged, _ := x509.ParseCertificate(der)
		if _, err := forged.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
			t.Errorf("a certificate for the names %q and the addresses %v: got no error, want one, because the authority is limited to Meta's hosts", template.DNSNames, template.IPAddresses)
		}
	}
}

func TestACertificateIsSignedAgainBeforeItEnds(t *testing.T) {
	_, pair, _ := created(t)
	root, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	valid := root.NotBefore.Add(24 * time.Hour)
	synctest.Test(t, func(t *testing.T) {
		// Simulated time begins in 2000, when the authority is not valid yet.
		time.Sleep(time.Until(valid))
		a, err := authority.New(&pair)
		if err != nil {
			t.Fatal(err)
		}
		first, _ := a.Leaf("graph.facebook.com")
		time.Sleep(5 * 24 * time.Hour)
		if again, _ := a.Leaf("graph.facebook.com"); again != first {
			t.Error("after five days: got another certificate, want the first one")
		}
		time.Sleep(25 * time.Hour)
		if again, err := a.Leaf("graph.facebook.com"); err != nil || again == first || !again.Leaf.NotAfter.After(first.Leaf.NotAfter) {
			t.Errorf("less than a day before its expiry: got no certificate that expires later (error: %v), want one", err)
		}
		time.Sleep(time.Until(a.Ends()) - time.Hour)
		last, err := a.Leaf("graph.facebook.com")
		if err != nil || last.Leaf.NotAfter.After(a.Ends()) {
			t.Errorf("the last certificate is valid until %v (error: %v), want at most until the end of the authority, %v", last.Leaf.NotAfter, err, a.Ends())
		}
		time.Sleep(2 * time.Hour)
		if _, err := authority.New(&pair); err == nil || !strings.Contains(err.Error(), "it expired on ") {
			t.Errorf("an expired authority: got %v, want an error that it expired", err)
		}
	})
}

func TestAnAuthorityWithoutItsLimitsIsRefused(t *testing.T) {
	all := []*net.IPNet{{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}, {IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}}
	right := func() *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
			PermittedDNSDomainsCritical: true, PermittedDNSDomains: []string{"facebook.com"}, ExcludedIPRanges: all}
	}
	// Each key is a part of the wanted error, and "" means no error. The keys of a map must differ,
	// so cases that want the same error use different parts of its text.
	for want, spoil := range map[string]func(*x509.Certificate){
		"":                                   func(*x509.Certificate) {},
		"is not the certificate of an auth":  func(c *x509.Certificate) { c.IsCA, c.MaxPathLenZero = false, false },
		"path length is not 0":               func(c *x509.Certificate) { c.MaxPathLenZero, c.MaxPathLen = false, 1 },
		"no critical name constraints":       func(c *x509.Certificate) { c.PermittedDNSDomainsCritical = false },
		"they permit domains other":          func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"facebook.com", "example.com"} },
		"permit domains other than":          func(c *x509.Certificate) { c.PermittedDNSDomains = []string{""} },
		"do not exclude all IP addresses":    func(c *x509.Certificate) { c.ExcludedIPRanges = all[:1] },
		"it is valid only from":              func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) },
		"it expired on":                      func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) },
		"is not the certificate of an autho": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature },
	} {
		template := right()
		spoil(template)
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		_, err = authority.New(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("got the error %v, want one that contains %q (\"\": want no error)", err, want)
		}
	}
	key, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	der, _ := x509.CreateCertificate(rand.Reader, right(), right(), &key.PublicKey, key)
	if _, err := authority.New(&tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}); err == nil {
		t.Error("a key on P-384: got no error, want an error")
	}
}

func TestACertificateIsKeptForEachHostUpToABound(t *testing.T) {
	a, pair, _ := created(t)
	first, err := a.Leaf("graph.facebook.com")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 100 {
				if again, err := a.Leaf("graph.facebook.com"); err != nil || again != first {
					t.Errorf("a repeated call: got another certificate (error: %v), want the first one", err)
				}
			}
		})
	}
	all.Wait()
	other, err := a.Leaf("api.instagram.com")
	if err != nil || other == first || other.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0 || len(other.Leaf.DNSNames) != 1 {
		t.Errorf("a second host: got a certificate for %v (error: %v), want a certificate for api.instagram.com only, not that of the first host", other.Leaf.DNSNames, err)
	}
	for i := range 100 { // more than the bound
		if _, err := a.Leaf(fmt.Sprintf("h%d.facebook.com", i)); err != nil {
			t.Fatal(err)
		}
	}
	if again, _ := a.Leaf("graph.facebook.com"); again == first {
		t.Error("after 100 other hosts: got the first certificate, want a new one, because the number of kept certificates is bounded")
	}
	want := strings.ToUpper(fmt.Sprintf("% x", sha256.Sum256(pair.Certificate[0])))
	if got := strings.ReplaceAll(a.Fingerprint(), ":", " "); got != want {
		t.Errorf("fingerprint %s, want %s", got, want)
	}
}

// A person who reads the certificate can tell from its name that it is for Meta's hosts only.
func TestTheAuthoritySaysWhatItIsFor(t *testing.T) {
	_, pair, _ := created(t)
	c, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	if name := c.Subject.String(); !strings.Contains(name, "igproxy") || !strings.Contains(name, "Meta's hosts only") {
		t.Errorf("the authority's name is %s, want one that contains \"igproxy\" and \"Meta's hosts only\"", name)
	}
	if years := c.NotAfter.Sub(c.NotBefore).Hours() / 24 / 365; years < 9.9 || years > 10.1 {
		t.Errorf("the authority is valid for %.1f years, want 10", years)
	}
	if len(c.ExtKeyUsage) > 0 || c.KeyUsage != x509.KeyUsageCertSign || c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("key usage: got %v, want %v (to sign certificates); extended key usages: got %v, want an empty list; path length: got %d, want 0", c.KeyUsage, x509.KeyUsageCertSign, c.ExtKeyUsage, c.MaxPathLen)
	}
}
