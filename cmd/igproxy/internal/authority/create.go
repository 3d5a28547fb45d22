package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// The names of the files that Create writes.
const (
	CertFile = "igproxy-ca.pem"
	KeyFile  = "igproxy-ca.key"
)

// Create makes an authority and writes its certificate and its key into a folder. Every user may
// read the certificate, but only the current user may read the key. Create makes the folder if it
// does not exist, and never replaces a file.
func Create(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	name := make([]byte, 4)
	_, _ = rand.Read(name) // never returns an error
	template := &x509.Certificate{
		SerialNumber:                serial(),
		Subject:                     pkix.Name{Organization: []string{"igproxy"}, CommonName: "igproxy authority " + hex.EncodeToString(name) + " for Meta's hosts only"},
		NotBefore:                   now.Add(-skew),
		NotAfter:                    now.Add(life),
		KeyUsage:                    x509.KeyUsageCertSign,
		BasicConstraintsValid:       true,
		IsCA:                        true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         Domains,
		ExcludedIPRanges:            everyAddress,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // clients read the certificate
		return err
	}
	keyPath := filepath.Join(dir, KeyFile)
	if err := writeNew(keyPath, "PRIVATE KEY", der, 0o600); err != nil {
		return err
	}
	if err := writeNew(filepath.Join(dir, CertFile), "CERTIFICATE", cert, 0o644); err != nil {
		_ = os.Remove(keyPath) // a key without its certificate is useless
		return err
	}
	return nil
}

// writeNew writes a PEM file that must not exist yet.
func writeNew(path, kind string, der []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode) //nolint:gosec // the operator names the path
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; choose another folder, or remove the file if no client trusts its authority any more", path)
	}
	if err != nil {
		return err
	}
	return errors.Join(pem.Encode(f, &pem.Block{Type: kind, Bytes: der}), f.Sync(), f.Close())
}

// serial returns a random number from 1 to 2^127. A serial number must be positive and have at most
// 20 bytes (RFC 5280, section 4.1.2.2).
func serial() *big.Int {
	n, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // never returns an error
	return n.Add(n, big.NewInt(1))
}
