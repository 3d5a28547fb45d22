package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/proxy/mock"
)

func mockCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "mock",
		Usage: "run a stand-in Instagram, with faults and counters",
		Description: "Meta has no sandbox for tokens; this is one, for Instagram and Threads. Every\n" +
			"token is good, unless its prefix names a fault: access_token=expired-1.\n\n" +
			"What Meta has, with or without a version in front:\n" + columns([][2]string{
			{"GET  /access_token", "a long-lived token for a short-lived one"},
			{"GET  /refresh_access_token", "a new one for one that is a day old"},
			{"POST /oauth/access_token", "a short-lived one for a code, once"},
			{"GET  /me, /ID, /me/media", "reads, page by page; POST and DELETE write"},
		}) + "\nWhat it has besides:\n" + columns([][2]string{
			{"GET  /__stats", "what was asked, token by token"},
			{"POST /__reset", "count anew"},
			{"POST /__fault?mode=down", "a fault for every token and code; mode= ends it"},
			{"POST /__latency?d=200ms", "wait before each answer"},
			{"POST /__code", "a new code; client_id= and redirect_uri= bind it"},
			{"POST /__secret", "accept these alone: secret= once or more, in the body"},
			{"POST /__shape?mode=flat", "codes' answers as on the wire; data: as documented"},
			{"POST /__age?d=25h", "make all tokens and codes older"},
			{"GET  /__stream?bytes=9000", "a download of any size"},
			{"GET  /__faults", "the list below"},
		}) + "\nFaults, by the prefix of a token or code, or as mode:\n" + strings.TrimRight(columns(faultRows()), "\n"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8081", Usage: "listen on `ADDRESS`; port 0 takes a free one"},
			&cli.DurationFlag{Name: "latency", Usage: "wait `TIME` before each answer, as in 200ms"},
			&cli.BoolFlag{Name: "tls", Usage: "speak TLS with a throw-away certificate", DisableDefaultText: true},
			&cli.StringFlag{Name: "ca-out", Usage: "with --tls: write the authority to `FILE`, for upstream.ca_file"},
			&cli.StringFlag{Name: "secret", Usage: "accept the client secret `TEXT` only; a made-up one, since other users can read command lines"},
			&cli.StringFlag{Name: "app-id", Usage: "accept codes from the app `ID` only"},
			&cli.StringFlag{Name: "threads-secret", Usage: "accept the Threads client secret `TEXT` only"},
			&cli.StringFlag{Name: "threads-app-id", Usage: "take codes from the app `ID` for Threads codes"},
			&cli.StringFlag{Name: "host", Usage: "play one `HOST` alone: " + hostNames()},
		},
		Action: func(c *cli.Context) error {
			if c.Duration("latency") < 0 {
				return &usageError{"--latency: write a time of 0 or more, such as 200ms"}
			}
			if c.String("ca-out") != "" && !c.Bool("tls") {
				return &usageError{"--ca-out needs --tls"}
			}
			if host := c.String("host"); host != "" && !slices.Contains(mock.Hosts(), host) {
				return &usageError{fmt.Sprintf("--host: %q is none of its values; write %s", host, hostNames())}
			}
			return serveMock(c, env)
		},
	}
}

func hostNames() string {
	names := mock.Hosts()
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// columns sets two columns, indented.
func columns(rows [][2]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintf(w, "  %s\t%s\n", r[0], r[1])
	}
	_ = w.Flush()
	return b.String()
}

func faultRows() [][2]string {
	var rows [][2]string
	for _, f := range mock.Faults() {
		rows = append(rows, [2]string{f.Name + "-", f.Description})
	}
	return rows
}

func serveMock(c *cli.Context, env environment) error {
	log := logging.New(env.stderr, "info", "auto")
	instagram := mock.New(mock.Options{
		AppID: c.String("app-id"), Secret: c.String("secret"),
		Threads: mock.App{AppID: c.String("threads-app-id"), Secret: c.String("threads-secret")},
		Host:    c.String("host"), Latency: c.Duration("latency"), Logger: log,
	})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	server, err := mock.Start(instagram, mock.ServerOptions{Addr: c.String("listen"), TLS: c.Bool("tls")})
	if err != nil {
		return listener.Explain("--listen", c.String("listen"), err)
	}
	defer server.Close()
	if path := c.String("ca-out"); path != "" {
		if err := os.WriteFile(path, server.CAPEM, 0o644); err != nil {
			return fmt.Errorf("--ca-out: cannot write %s: %w", path, errors.Unwrap(err))
		}
	}
	log.Info("the stand-in Instagram is listening", "url", server.URL, "try", server.URL+"/__stats")
	<-signals
	log.Info("stopped", "calls", instagram.Calls())
	return nil
}
