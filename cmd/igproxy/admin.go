package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

// adminFlags returns the common flags of the commands that call a running sidecar.
func adminFlags(timeout time.Duration) []cli.Flag {
	positive := func(_ *cli.Context, d time.Duration) error {
		if d <= 0 {
			return usageError("--timeout: use a time above 0, such as 2s")
		}
		return nil
	}
	return []cli.Flag{configFlag(),
		&cli.DurationFlag{Name: "timeout", Value: timeout, Usage: "wait at most `TIME` for the response", Action: positive}}
}

// adminTarget says how a command reaches the running sidecar.
type adminTarget struct {
	listen string       // as in admin.listen
	token  proxy.Secret // read from admin.token_file; may be zero
}

// readTarget returns the target of a command that only reads: admin.listen, without a token.
func readTarget(c *cli.Context, env environment) (adminTarget, error) {
	conf, err := loadTarget(c, env, "admin.listen")
	return adminTarget{listen: conf.Admin.Listen}, err
}

// operationTarget returns the target of an operation. It prefers a Unix socket, because the kernel
// reports the caller's UID there. Without a socket, it returns the TCP address and the token.
func operationTarget(c *cli.Context, env environment) (adminTarget, error) {
	conf, err := loadTarget(c, env, "admin.listen", "admin.socket")
	if err != nil {
		return adminTarget{}, err
	}
	to := adminTarget{listen: conf.Admin.Listen}
	if path := conf.Admin.Socket; path != "" {
		to.listen = "unix:" + path
	}
	path := conf.Admin.TokenFile
	if path != "" {
		to.token, err = config.ReadToken(path)
	}
	switch {
	case strings.HasPrefix(to.listen, "unix:"):
		return to, nil // even if the token cannot be read, because over a socket the caller's UID may be enough
	case path == "":
		return to, usageError("reload, purge and resume need admin.socket or admin.token_file; set one of them for the sidecar and " +
			"for this command, for example with --config; to reload without either, send SIGHUP to the sidecar")
	case err != nil:
		return to, usageError("admin.token_file: %s", err)
	}
	return to, nil
}

// loadTarget reads the configuration. A problem with one of the given keys is an error. Problems
// with other keys are ignored; operationTarget itself reports a problem with admin.token_file. If
// the file as a whole cannot be read, loadTarget prints a warning and takes all settings from the
// environment or the defaults.
func loadTarget(c *cli.Context, env environment, keys ...string) (config.Config, error) {
	conf, problems := config.Load(c.String("config"), env.environ)
	for _, p := range problems {
		switch {
		case p.Warning:
		case slices.Contains(keys, p.Key):
			return conf, usageError("%s", p)
		case p.Key == "" && p.Where != "": // about the file as a whole
			fmt.Fprintf(env.stderr, "igproxy: warning: %s; calling the sidecar without this file\n", p)
		}
	}
	return conf, nil
}

// maxResponse bounds a sidecar's response, in bytes.
const maxResponse = 1 << 20

// readAdmin sends a GET request to the running sidecar, waits at most --timeout, and decodes the
// JSON response.
func readAdmin(c *cli.Context, env environment, path string, response any) (status int, err error) {
	to, err := readTarget(c, env)
	if err != nil {
		return 0, err
	}
	return to.call(c, http.MethodGet, path, "", response)
}

// operate runs an operation of the running sidecar, waits at most --timeout, and decodes the JSON
// response. It sends form as the body of the request.
func operate(c *cli.Context, env environment, name, form string, response any) error {
	to, err := operationTarget(c, env)
	if err != nil {
		return err
	}
	_, err = to.call(c, http.MethodPost, "/"+name, form, response)
	return err
}

func (a adminTarget) call(c *cli.Context, method, path, form string, response any) (status int, err error) {
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	network, address := "tcp", a.listen
	if path, ok := strings.CutPrefix(a.listen, "unix:"); ok {
		network, address = "unix", path
	}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		// If the listener is on all addresses, such as 0.0.0.0, the Dialer connects to this
		// machine.
		return dialLocal(ctx, network, address)
	}}
	r, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(form))
	if err != nil {
		return 0, err
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if !a.token.IsZero() {
		r.Header.Set("Authorization", "Bearer "+a.token.Reveal())
	}
	res, err := transport.RoundTrip(r)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return 0, fmt.Errorf("no permission to connect to %s; run this as root, as igproxy's user, or as a user in the socket's group", a.listen)
	case err != nil:
		return 0, fmt.Errorf("no answer from %s; is igproxy serve running with this address?", a.listen)
	}
	defer res.Body.Close()
	body := io.LimitReader(res.Body, maxResponse)
	if res.StatusCode == http.StatusUnauthorized || res.StatusCode == http.StatusForbidden {
		text, _ := io.ReadAll(body)
		return 0, fmt.Errorf("%s refused: %s", a.listen, strings.TrimSpace(printable(string(text))))
	}
	if err := json.NewDecoder(body).Decode(response); err != nil {
		return 0, fmt.Errorf("%s did not answer as igproxy does; check admin.listen (or admin.socket)", a.listen)
	}
	return res.StatusCode, nil
}

// dialLocal connects to a listener of this machine. It does not resolve the name localhost, because
// in a container without /etc/hosts that name has no address or depends on DNS.
func dialLocal(ctx context.Context, network, address string) (c net.Conn, err error) {
	addresses := []string{address}
	if host, port, err := net.SplitHostPort(address); err == nil && strings.EqualFold(strings.TrimSuffix(host, "."), "localhost") {
		addresses = []string{net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("::1", port)}
	}
	for _, a := range addresses {
		if c, err = (&net.Dialer{}).DialContext(ctx, network, a); err == nil {
			break
		}
	}
	return c, err
}

// printable removes from a text the characters that could control a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) && r != '\n' {
			return -1
		}
		return r
	}, text)
}
