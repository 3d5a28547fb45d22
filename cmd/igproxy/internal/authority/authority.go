// Package authority makes and uses the private certificate authority that lets igproxy answer as
// Meta's hosts. The authority's own certificate limits it to Meta's domains, so that its key is of
// no use against other sites. This does not protect clients that ignore the limit, such as Java's
// default validator (docs/intercept.md).
package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Domains are the domains, with all their subdomains, for which an authority may sign certificates.
var Domains = []string{"instagram.com", "threads.net", "threads.com", "facebook.com"}

// everyAddress contains all IP addresses. An authority's name constraints exclude them, so a
// certificate that it signs for an IP address is not valid.
var everyAddress = []*net.IPNet{
	{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)},
	{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)},
}

const (
	life     = 10 * 365 * 24 * time.Hour // how long an authority is valid
	leafLife = 7 * 24 * time.Hour        // how long a certificate for a host is valid
	// renewAt is the remaining life below which a certificate for a host is replaced. It is so long
	// that no certificate expires during a handshake.
	renewAt = 24 * time.Hour
	// skew is how far the clock of a client may be behind igproxy's clock.
	skew = time.Hour
	// hostLimit bounds the number of kept certificates. igproxy needs far fewer: it asks only for
	// Meta's token hosts.
	hostLimit = 64
)

// Authority signs certificates for Meta's hosts. It is safe for concurrent use.
type Authority struct {
	cert   *x509.Certificate
	signer *ecdsa.PrivateKey
	key    *ecdsa.PrivateKey // shared by all certificates for hosts

	mu     sync.Mutex                  // protects leaves
	leaves map[string]*tls.Certificate // by host
}

// New returns an Authority that signs with the certificate and the key in pair. It returns an error
// if the certificate cannot be parsed, is not that of an authority limited to Domains, or is not
// valid now. It also returns an error if the key is not ECDSA on P-256.
func New(pair *tls.Certificate) (*Authority, error) {
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return nil, errors.New("its certificate cannot be read")
	}
	signer, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || signer.Curve != elliptic.P256() {
		return nil, errors.New("its key is not an ECDSA key on P-256")
	}
	if err := check(cert, time.Now()); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &Authority{cert: cert, signer: signer, key: key, leaves: map[string]*tls.Certificate{}}, err
}

// check returns an error if a certificate does not belong to an authority, could be used against
// sites other than Meta's, or is not valid at the time now.
func check(c *x509.Certificate, now time.Time) error {
	switch {
	case !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage&x509.KeyUsageCertSign == 0:
		return errors.New("it is not the certificate of an authority")
	case !c.MaxPathLenZero || c.MaxPathLen != 0:
		return errors.New("it may certify other authorities (its path length is not 0)")
	case !c.PermittedDNSDomainsCritical || len(c.PermittedDNSDomains) == 0 ||
		slices.ContainsFunc(c.PermittedDNSDomains, func(d string) bool { return !slices.Contains(Domains, d) }):
		return errors.New("it has no critical name constraints, or they permit domains other than " + strings.Join(Domains, ", "))
	case !excludes(c.ExcludedIPRanges, everyAddress):
		return errors.New("its name constraints do not exclude all IP addresses")
	case now.Before(c.NotBefore):
		return fmt.Errorf("it is valid only from %s", c.NotBefore.Format(time.DateOnly))
	case now.After(c.NotAfter):
		return fmt.Errorf("it expired on %s", c.NotAfter.Format(time.DateOnly))
	}
	return nil
}

// excludes reports whether got contains every network in want.
func excludes(got, want []*net.IPNet) bool {
	return !slices.ContainsFunc(want, func(w *net.IPNet) bool {
		return !slices.ContainsFunc(got, func(g *net.IPNet) bool { return g.String() == w.String() })
	})
}

// Ends returns the time at which the authority's certificate expires.
func (a *Authority) Ends() time.Time { return a.cert.NotAfter }

// Fingerprint returns the SHA-256 of the certificate in the form in which openssl prints it.
func (a *Authority) Fingerprint() string { return fingerprint(a.cert) }

func fingerprint(c *x509.Certificate) string {
	var pairs []string
	for _, b := range sha256.Sum256(c.Raw) {
		pairs = append(pairs, fmt.Sprintf("%02X", b))
	}
	return strings.Join(pairs, ":")
}

// Leaf returns a certificate for a host, which must be in one of Domains. It keeps the certificate
// for later calls until a day before the certificate expires, or until hostLimit is reached.
func (a *Authority) Leaf(host string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if leaf := a.leaves[host]; leaf != nil && now.Before(leaf.Leaf.NotAfter.Add(-renewAt)) {
		return leaf, nil
	}
	if len(a.leaves) >= hostLimit {
		clear(a.leaves)
	}
	leaf, err := a.sign(host, now)
	if err == nil {
		a.leaves[host] = leaf
	}
	return leaf, err
}

func (a *Authority) sign(host string, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: host},
		DNSNames:     []string{host},
		NotBefore:    now.Add(-skew),
		NotAfter:     now.Add(leafLife),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.signer)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key, Leaf: parsed}, err
}
