package config

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// Bounds of the files a configuration names, in bytes.
const (
	maxSecretFile = 4 << 10
	minKeyFile    = 32 // 256 bits
	maxCertFile   = 4 << 20
)

// minSecret is the shortest client secret believed; Instagram's have 32 characters.
const minSecret = 8

// fileError is a file that is not as it should be. Its text has no word of the file's content.
type fileError struct {
	path string
	fault
}

// Error implements error.
func (e *fileError) Error() string { return printable(e.path) + " " + e.what }

// ReadSecret reads a secret, less one newline at its end, which every editor adds. A link is
// followed: Kubernetes mounts secrets as links. Its error is a *fileError.
func ReadSecret(path string) (proxy.Secret, error) {
	content, err := readSecret(path)
	if err != nil {
		return proxy.Secret{}, err
	}
	text := trimNewline(string(content))
	if f := faultOfSecret(text); f != nil {
		return proxy.Secret{}, &fileError{shownPath(path), *f}
	}
	return proxy.NewSecret(text), nil
}

// readClientSecrets reads a client secret, and the previous one if there is a second line: while it
// is being changed, Instagram takes the one or the other. Its error is a *fileError.
func readClientSecrets(path string) (current, previous proxy.Secret, err error) {
	content, err := readSecret(path)
	if err != nil {
		return current, previous, err
	}
	lines := strings.Split(trimNewline(string(content)), "\n")
	if len(lines) > 2 {
		return current, previous, &fileError{shownPath(path), fault{"holds more than two lines", "keep the current secret, and below it at most the previous one"}}
	}
	secrets := make([]proxy.Secret, 2)
	for i, line := range lines {
		line = strings.TrimSuffix(line, "\r")
		if f := checkSecret(line); f != nil {
			return current, previous, &fileError{shownPath(path), *f}
		}
		secrets[i] = proxy.NewSecret(line)
	}
	return secrets[0], secrets[1], nil
}

// readKeyFile reads key material byte for byte, a newline at its end included. Its error is a
// *fileError.
func readKeyFile(path string) (proxy.Secret, error) {
	content, err := readSecret(path)
	if err != nil {
		return proxy.Secret{}, err
	}
	if len(content) < minKeyFile {
		return proxy.Secret{}, &fileError{shownPath(path), fault{"holds fewer than 32 bytes", "make one with: head -c 32 /dev/urandom"}}
	}
	return proxy.NewSecret(string(content)), nil
}

// readSecret reads a small regular file. Anything else is refused before it is opened: opening a
// named pipe would wait for its writer.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		f := newFileError(path, err)
		if f.path = shownPath(path); f.path == hiddenPath {
			f.fix = "write a path here, beginning with / or ./, and not the secret itself"
		}
		return nil, f
	}
	if !info.Mode().IsRegular() {
		return nil, &fileError{shownPath(path), fault{"is not a regular file", "name a file that holds nothing but the secret"}}
	}
	content, err := readBounded(path, maxSecretFile)
	if err != nil {
		f := newFileError(path, err)
		f.path = shownPath(path)
		return nil, f
	}
	if len(content) == 0 {
		return nil, &fileError{shownPath(path), fault{"is empty", "write the secret into it"}}
	}
	return content, nil
}

// shownPath is the path, unless it may be the secret itself, written where its file's path belongs.
func shownPath(path string) string {
	for _, start := range []string{"/", "./", "../", "~/"} {
		if strings.HasPrefix(path, start) {
			return path
		}
	}
	return hiddenPath
}

const hiddenPath = "the file named here"

// newFileError puts the system's error into our words: its own repeats the path and names a system
// call.
func newFileError(path string, err error) *fileError {
	var f *fileError
	switch {
	case errors.As(err, &f):
		return &fileError{path, f.fault}
	case errors.Is(err, fs.ErrNotExist):
		return &fileError{path, fault{"does not exist", "create it, or correct the path"}}
	case errors.Is(err, fs.ErrPermission):
		return &fileError{path, fault{"may not be read by this user", "change its owner or mode"}}
	}
	return &fileError{path, fault{"cannot be read", "name a readable file"}}
}

// readBounded reads a file of at most max bytes. Its error is a *fileError.
func readBounded(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, newFileError(path, err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, &fileError{path, fault{"is a directory", "name a file"}}
	}
	content, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, newFileError(path, err)
	}
	if int64(len(content)) > max {
		return nil, &fileError{path, fault{"is larger than " + sizeText(max), "name the right file"}}
	}
	return content, nil
}

// trimNewline cuts one newline off, as \n or \r\n.
func trimNewline(text string) string {
	if t, ok := strings.CutSuffix(text, "\r\n"); ok {
		return t
	}
	return strings.TrimSuffix(text, "\n")
}

// faultOfSecret finds what a copied secret often has and no real one does.
func faultOfSecret(text string) *fault {
	switch {
	case text == "":
		return &fault{"holds no secret", "write the secret into it"}
	case strings.ContainsFunc(text, isSpace):
		return &fault{"holds a blank, a line break or a control character", "it must hold the secret and at most one newline after it"}
	}
	return nil
}

// readableByAll reports whether every user of the machine can read the file.
func readableByAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}

// readPEM reads a file of PEM blocks. As with a secret, a named pipe is refused before it is
// opened.
func readPEM(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return nil, &fileError{path, fault{"is not a regular file", "name a file with -----BEGIN in it"}}
	}
	return readBounded(path, maxCertFile)
}

// ReadCertPool reads authorities in PEM. Its error is a *fileError.
func ReadCertPool(path string) (*x509.CertPool, error) {
	content, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, &fileError{path, fault{"holds no certificate in PEM", "name a file with -----BEGIN CERTIFICATE----- in it"}}
	}
	return pool, nil
}

// ReadKeyPair reads a certificate and its key in PEM. Its error is a *fileError.
func ReadKeyPair(certPath, keyPath string) (*tls.Certificate, error) {
	cert, err := readPEM(certPath)
	if err != nil {
		return nil, err
	}
	key, err := readPEM(keyPath)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil { // its text is not shown: it may repeat what a PEM block is named
		return nil, &fileError{keyPath, fault{"is not the key of " + printable(certPath) + ", or one of them is not PEM", "name a certificate and its own key"}}
	}
	return &pair, nil
}

// minBearer is the shortest token of the sidecar's own that is believed, in characters.
const minBearer = 16

// ReadBearer reads the token apps must show, and keeps its SHA-256 only. Its error is a *fileError.
func ReadBearer(path string) (digest [sha256.Size]byte, err error) {
	token, err := ReadSecret(path)
	if err != nil {
		return digest, err
	}
	text := token.Reveal()
	switch {
	case len(text) < minBearer:
		return digest, &fileError{shownPath(path), fault{fmt.Sprintf("holds fewer than %d characters", minBearer), "make one with: openssl rand -hex 32"}}
	case strings.ContainsFunc(text, func(r rune) bool { return r > '~' }):
		return digest, &fileError{shownPath(path), fault{"holds a character that is not ASCII, which no header can carry", "make one with: openssl rand -hex 32"}}
	}
	return sha256.Sum256([]byte(text)), nil
}
