package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

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

// AsksWho reports whether apps must show who they are, over any network.
func (c Config) AsksWho() bool { return c.Auth.BearerFile != "" || c.Auth.ClientCA != "" }

const TrustChoices = "set auth.bearer_file, or auth.client_ca with tls.cert_file and tls.key_file, or auth.none: true if the network keeps others out; or listen on 127.0.0.1 or unix:/path"

// OpenTo says who is answered.
func (c Config) OpenTo() string {
	who := "every program on this machine"
	switch {
	case len(c.Auth.UIDs) > 0:
		who = "the users " + strings.Join(c.Auth.UIDs, ", ")
	case strings.HasPrefix(c.Listen, "unix:"):
		who = "the users that mode " + c.Server.SocketMode + " lets in"
	case beyondLoopback(c.Listen):
		who = "everybody who reaches it"
	}
	switch bearer, certificate := c.Auth.BearerFile != "", c.Auth.ClientCA != ""; {
	case bearer && certificate:
		return who + " with a token and a client certificate"
	case bearer:
		return who + " with a token"
	case certificate:
		return who + " with a client certificate"
	}
	return who
}

// SocketMode is server.socket_mode.
func (c Config) SocketMode() fs.FileMode {
	mode, _ := socketMode(c.Server.SocketMode) // Load has refused what is not a mode
	return mode
}

func socketMode(text string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(text, 8, 32)
	if err != nil || mode > 0o777 {
		return 0, errors.New("server.socket_mode is not a mode")
	}
	return fs.FileMode(mode), nil
}

// CacheTiers says which tiers are in use.
func (c Config) CacheTiers() string {
	if c.Redis.Mode == "" {
		return "memory"
	}
	return "memory, redis (" + c.Redis.Mode + ")"
}
