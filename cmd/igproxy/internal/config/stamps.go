package config

import (
	"crypto/sha256"
	"io/fs"
	"os"
	"time"
)

// Stamps tell whether files changed: what stood behind their links, and when it was written.
type Stamps []fs.FileInfo

// Stamp looks at each file behind its links; nil is one that is not there.
func Stamp(paths []string) Stamps {
	seen := make(Stamps, len(paths))
	for i, path := range paths {
		if info, err := os.Stat(path); err == nil {
			seen[i] = info
		}
	}
	return seen
}

// Settled reports whether all are there and old enough for their time to tell them from a later
// write; see settleTime.
func (s Stamps) Settled() bool {
	for _, info := range s {
		if info == nil || time.Since(info.ModTime()) <= settleTime {
			return false
		}
	}
	return true
}

// Same reports whether no file changed.
func (a Stamps) Same(b Stamps) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		switch {
		case a[i] == nil && b[i] == nil:
		case a[i] == nil, b[i] == nil, !os.SameFile(a[i], b[i]), !a[i].ModTime().Equal(b[i].ModTime()), a[i].Size() != b[i].Size():
			return false
		}
	}
	return true
}

// namedFile is a file that the configuration names, by its key.
type namedFile struct{ key, path string }

// namedFiles are those that are read when the configuration is, and never again by whoever uses
// them. The token of auth.bearer_file, certificates, keys, client authorities and Redis's password
// are not among them: these are followed where they are used.
func (c Config) namedFiles() []namedFile {
	all := []namedFile{{"client_secret_file", c.ClientSecretFile}, {"threads.client_secret_file", c.Threads.ClientSecretFile}, {"cache.key_file", c.Cache.KeyFile}}
	for i, a := range c.Apps {
		all = append(all, namedFile{appKey(i) + ".client_secret_file", a.ClientSecretFile})
	}
	return append(all, c.plainFiles()...)
}

// plainFiles are those of which Config does not hold what is in them.
func (c Config) plainFiles() []namedFile {
	return []namedFile{{"upstream.ca_file", c.Upstream.CAFile}, {"redis.ca_file", c.Redis.CAFile}, {"redis.sentinel_password_file", c.Redis.SentinelPasswordFile}}
}

// digests of the plain files, by key; one that cannot be read has none.
func (c Config) digests() map[string][sha256.Size]byte {
	all := map[string][sha256.Size]byte{}
	for _, f := range c.plainFiles() {
		if f.path == "" {
			continue
		}
		if text, err := readBounded(f.path, maxCertFile); err == nil {
			all[f.key] = sha256.Sum256(text)
		}
	}
	return all
}
