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
	"regexp"
	"strconv"
	"strings"

	"github.com/igproxy/igproxy/proxy"
)

// Limits of the files that a configuration names.
const (
	maxSecretFile = 4 << 10 // bytes
	minKeyFile    = 32      // bytes: 256 bits
	maxCertFile   = 4 << 20 // bytes
	minBearer     = 16      // characters
)

// fileError says what is wrong with a file, without any of its contents.
type fileError struct {
	path string
	fault
}

// Error implements error.
func (e *fileError) Error() string { return shownPath(e.path) + " " + e.what }

// ReadSecret reads a secret without the newline at its end, which most editors add. It follows
// symbolic links, because Kubernetes mounts secrets as links. Its error is a *fileError.
func ReadSecret(path string) (proxy.Secret, error) {
	return parseFile(path, maxSecretFile, func(text string) (proxy.Secret, *fault) {
		text = trimNewline(text)
		return proxy.NewSecret(text), faultOfSecret(text)
	})
}

// ReadToken reads only the current token, from a file in the form that ReadBearers reads. Its error
// is a *fileError.
func ReadToken(path string) (proxy.Secret, error) {
	return parseFile(path, maxSecretFile, func(text string) (proxy.Secret, *fault) {
		lines, f := linesOfRotation(text, faultOfSecret)
		if f != nil {
			return proxy.Secret{}, f
		}
		return proxy.NewSecret(lines[0]), nil
	})
}

// readClientSecrets reads a client secret and, if the file has a second line, the previous secret.
// During a rotation, Meta may accept either of them. Files of webhook secrets have the same form.
// Its error is a *fileError.
func readClientSecrets(path string) (secrets [2]proxy.Secret, err error) {
	return parseFile(path, maxSecretFile, func(text string) (secrets [2]proxy.Secret, f *fault) {
		lines, f := linesOfRotation(text, checkSecret)
		for i, line := range lines {
			secrets[i] = proxy.NewSecret(line)
		}
		return secrets, f
	})
}

// linesOfRotation splits a text into the current secret and, if there is a second line, the
// previous secret, and checks each. If there are two lines, the fault names the wrong line.
func linesOfRotation(text string, check func(string) *fault) ([]string, *fault) {
	lines := strings.Split(trimNewline(text), "\n")
	if len(lines) > 2 {
		return nil, &fault{"has more than two lines", "keep the current secret and, below it, at most the previous one"}
	}
	for i, line := range lines {
		lines[i] = strings.TrimSuffix(line, "\r")
		if f := check(lines[i]); f != nil {
			if f.fix == "remove it" {
				f.fix += "; a previous secret belongs on a second line"
			}
			if len(lines) > 1 {
				f.what += fmt.Sprintf(" (line %d)", i+1)
			}
			return nil, f
		}
	}
	return lines, nil
}

// readKeyFile reads a file of random bytes unchanged: a newline at the end is part of the key. Its
// error is a *fileError.
func readKeyFile(path string) (proxy.Secret, error) {
	return parseFile(path, maxSecretFile, func(text string) (proxy.Secret, *fault) {
		if len(text) < minKeyFile {
			return proxy.Secret{}, &fault{"has fewer than 32 bytes", "create the file with: head -c 32 /dev/urandom > FILE"}
		}
		return proxy.NewSecret(text), nil
	})
}

// ReadBearers reads the token that apps or operators must send and, if the file has a second line,
// the previous token. It returns their SHA-256 digests. Its error is a *fileError.
func ReadBearers(path string) (digests [][sha256.Size]byte, err error) {
	return parseFile(path, maxSecretFile, func(text string) (digests [][sha256.Size]byte, f *fault) {
		lines, f := linesOfRotation(text, func(line string) *fault {
			return faultOfToken(line, minBearer, "create the file with: openssl rand -hex 32 > FILE")
		})
		for _, line := range lines {
			digests = append(digests, sha256.Sum256([]byte(line)))
		}
		return digests, f
	})
}

// ReadCertPool reads the certificates of authorities in PEM. Its error is a *fileError.
func ReadCertPool(path string) (*x509.CertPool, error) {
	return parseFile(path, maxCertFile, func(text string) (*x509.CertPool, *fault) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(text)) {
			return nil, &fault{"has no certificate in PEM", "name a file that contains -----BEGIN CERTIFICATE-----"}
		}
		return pool, nil
	})
}

// ReadKeyPair reads a certificate and its private key in PEM. Its error is a *fileError.
func ReadKeyPair(certPath, keyPath string) (*tls.Certificate, error) {
	cert, err := readRegular(certPath, maxCertFile)
	if err != nil {
		return nil, err
	}
	return parseFile(keyPath, maxCertFile, func(key string) (*tls.Certificate, *fault) {
		pair, err := tls.X509KeyPair(cert, []byte(key))
		if err != nil { // the error's text may repeat parts of the file, such as the name of a PEM block
			return nil, &fault{"is not the key of " + shownPath(certPath) + ", or one of the two files is not PEM",
				"name a certificate and the key that belongs to it"}
		}
		return &pair, nil
	})
}

// parseFile reads a file of at most max bytes, and returns its parsed contents. The file must be
// regular; a file with a secret, for which max is maxSecretFile, may also be a pipe. The error is a
// *fileError.
func parseFile[T any](path string, max int64, parse func(text string) (T, *fault)) (T, error) {
	var none T
	read := readRegular
	if max == maxSecretFile && isPipe(path) {
		read = readPipe
	}
	content, err := read(path, max)
	if err != nil {
		return none, err
	}
	v, f := parse(string(content))
	if f != nil {
		return none, &fileError{path, *f}
	}
	return v, nil
}

// readRegular reads a regular file of at most max bytes. It opens nothing else, because opening a
// named pipe would wait for its writer. Its error is a *fileError.
func readRegular(path string, max int64) ([]byte, error) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist) && shownPath(path) == hiddenPath:
		return nil, &fileError{path, fault{"does not exist", "write a path that begins with / or ./, not the secret itself"}}
	case err == nil && !info.Mode().IsRegular():
		return nil, &fileError{path, fault{"is not a regular file", "name a regular file"}}
	}
	return readBounded(path, max)
}

// readBounded reads a file of at most max bytes. Its error is a *fileError.
func readBounded(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	return readAtMost(f, path, max)
}

func readAtMost(f io.Reader, path string, max int64) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if int64(len(content)) > max {
		return nil, &fileError{path, fault{"is larger than " + sizeText(max), "name the right file"}}
	}
	return content, nil
}

// unreadable returns an error without the system's message, which repeats the path.
func unreadable(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &fileError{path, fault{"does not exist", "create it, or correct the path"}}
	}
	return &fileError{path, fault{"cannot be read", "check that it is a file, and that this user may read it"}}
}

// hiddenPath is shown instead of a path that may be a secret.
const hiddenPath = "the file named here"

// shownPath returns a path for a message. It hides a text that does not begin like a path: the text
// may be a secret that was written where the path of its file belongs.
func shownPath(path string) string {
	for _, start := range []string{"/", "./", "../", "~/"} {
		if strings.HasPrefix(path, start) {
			return escaped(path)
		}
	}
	return hiddenPath
}

// escaped escapes the characters of a path that would garble the line of a message, such as
// newlines.
func escaped(path string) string { return strings.Trim(strconv.Quote(path), `"`) }

// trimNewline removes one newline from the end, written as \n, \r\n or \r.
func trimNewline(text string) string { return strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r") }

// faultOfSecret refuses an empty text. It also refuses characters that badly copied secrets contain
// and real secrets do not.
func faultOfSecret(text string) *fault {
	switch {
	case text == "":
		return &fault{"contains no secret", "write the secret into it"}
	case strings.ContainsFunc(text, isSpace):
		return &fault{"contains a space, a line break or a control character", "remove it"}
	}
	return nil
}

// assignment matches a line of an env file, such as CLIENT_SECRET=text.
var assignment = regexp.MustCompile(`^(export )?([A-Za-z0-9]+_[A-Za-z0-9_]*|(?i:secret|token|password|key))=[^=]`)

// faultOfWrapping finds a NAME= before the secret, or quotation marks around it. Both belong to the
// syntax of an env file, not to the secret. A shell that reads an env file removes quotation marks,
// but docker run --env-file and kubectl do not.
func faultOfWrapping(text string) *fault {
	quoted := len(text) > 1 && text[0] == text[len(text)-1] && strings.ContainsRune("\"'`", rune(text[0]))
	switch {
	case assignment.MatchString(text):
		return &fault{"begins with NAME=, as a line of an env file does", "keep only what follows the equals sign, without quotation marks"}
	case quoted:
		return &fault{"has quotation marks around it", "remove them: Docker env files and secret files are read literally"}
	}
	return nil
}

// faultOfToken finds what faultOfWrapping and faultOfSecret find. It also refuses characters that
// are not ASCII, and a text shorter than minimum.
func faultOfToken(text string, minimum int, fix string) *fault {
	if f := faultOfWrapping(text); f != nil {
		return f
	}
	if f := faultOfSecret(text); f != nil {
		return f
	}
	switch {
	case strings.ContainsFunc(text, func(r rune) bool { return r > '~' }):
		return &fault{"contains a character that is not ASCII, perhaps a byte order mark", fix}
	case len(text) < minimum:
		return &fault{fmt.Sprintf("contains fewer than %d characters", minimum), fix}
	}
	return nil
}

// readableByAll reports whether the mode of a file lets every user of the machine read it.
func readableByAll(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().Perm()&0o004 != 0
}
