package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy/proxytest"
)

func mockCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "mock",
		Usage: "run a stand-in Instagram, with faults and counters",
		Description: "Meta has no sandbox for tokens; this is one. Every token is good, unless its\n" +
			"prefix names a fault: access_token=expired-1.\n\n" +
			"Over HTTP:\n" + columns([][2]string{
			{"GET  /__stats", "what was asked, token by token"},
			{"POST /__reset", "forget it"},
			{"POST /__fault?mode=down", "a fault for every token; mode= ends it"},
			{"POST /__latency?d=200ms", "wait before each answer"},
			{"GET  /__faults", "the list below"},
		}) + "\nFaults, by the token's prefix or as mode:\n" + strings.TrimRight(columns(faultRows()), "\n"),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8081", Usage: "listen on `ADDRESS`; port 0 takes a free one"},
			&cli.DurationFlag{Name: "latency", Usage: "wait `TIME` before each answer, as in 200ms"},
			&cli.BoolFlag{Name: "tls", Usage: "speak TLS with a throw-away certificate"},
			&cli.StringFlag{Name: "ca-out", Usage: "with --tls: write the authority to `FILE`, for upstream.ca_file"},
			&cli.StringFlag{Name: "secret", Usage: "accept the client secret `TEXT` only; a made-up one, since other users can read command lines"},
		},
		Action: func(c *cli.Context) error {
			if c.String("ca-out") != "" && !c.Bool("tls") {
				return &usageError{"--ca-out needs --tls"}
			}
			return mock(c, env)
		},
	}
}

func faultRows() [][2]string {
	var rows [][2]string
	for _, f := range proxytest.Faults() {
		rows = append(rows, [2]string{f.Name + "-", f.Description})
	}
	return rows
}

func mock(c *cli.Context, env environment) error {
	log := newLogger(env.stderr, "info", "auto")
	instagram := proxytest.New(proxytest.Options{Secret: c.String("secret"), Latency: c.Duration("latency"), Logger: log})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	server, err := proxytest.Start(instagram, proxytest.ServerOptions{Addr: c.String("listen"), TLS: c.Bool("tls")})
	if err != nil {
		return cannotListen("--listen", c.String("listen"), err)
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
