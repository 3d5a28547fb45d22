package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/listener"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/proxy/mock"
)

func mockCommand(env environment) *cli.Command {
	hosts := strings.Join(mock.Hosts(), ", ")
	return &cli.Command{
		Name:        "mock",
		Usage:       "run a stand-in for Instagram, Threads and Facebook, with faults and counters",
		Description: mock.Guide(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8081", Usage: "listen on `ADDRESS`; port 0 picks a free port"},
			&cli.DurationFlag{Name: "latency", Usage: "wait `TIME` before each response, such as 200ms"},
			&cli.DurationFlag{Name: "token-life", DefaultText: "60 days",
				Usage: "let long-lived tokens end after `TIME`, such as 90s; a token can be refreshed after a 60th of its life, or after a day if that is sooner"},
			&cli.BoolFlag{Name: "tls", Usage: "use TLS with a throwaway certificate", DisableDefaultText: true},
			&cli.StringFlag{Name: "ca-out", Usage: "with --tls: write the CA certificate to `FILE`, for upstream.ca_file"},
			&cli.StringFlag{Name: "secret", Usage: "accept only the client secret `TEXT`; make one up, because other users can read command lines"},
			&cli.StringFlag{Name: "app-id", Usage: "accept a code only with client_id=`ID`"},
			&cli.StringFlag{Name: "threads-secret", Usage: "accept only the Threads client secret `TEXT`"},
			&cli.StringFlag{Name: "threads-app-id", Usage: "accept Threads calls to /oauth/access_token only with client_id=`ID`"},
			&cli.StringFlag{Name: "facebook-secret", Aliases: []string{"facebook-client-secret"}, Usage: "accept only the Facebook client secret `TEXT`"},
			&cli.StringFlag{Name: "facebook-app-id", Usage: "accept Facebook calls to /oauth/access_token only with client_id=`ID`"},
			&cli.StringFlag{Name: "host", Usage: "act only as `HOST`, one of " + hosts},
		},
		Action: func(c *cli.Context) error {
			switch host := c.String("host"); {
			case c.Duration("latency") < 0:
				return usageError("--latency: use a time of 0 or more, such as 200ms")
			case c.IsSet("token-life") && c.Duration("token-life") < time.Second:
				return usageError("--token-life: use a time of 1s or more, such as 90s")
			case c.String("ca-out") != "" && !c.Bool("tls"):
				return usageError("--ca-out needs --tls")
			case host != "" && !slices.Contains(mock.Hosts(), host):
				return usageError("--host: %q is not one of %s", host, hosts)
			}
			return serveMock(c, env)
		},
	}
}

func serveMock(c *cli.Context, env environment) error {
	lines := logging.Start(env.stderr, "info", "auto")
	defer lines.Close()
	log := lines.Logger
	instagram := mock.New(mock.Options{
		AppID: c.String("app-id"), Secret: c.String("secret"),
		Threads:  mock.App{AppID: c.String("threads-app-id"), Secret: c.String("threads-secret")},
		Facebook: mock.App{AppID: c.String("facebook-app-id"), Secret: c.String("facebook-client-secret")},
		Host:     c.String("host"), Latency: c.Duration("latency"), TokenLife: c.Duration("token-life"), Logger: log,
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
	log.Info("mock listening", "url", server.URL, "try", server.URL+"/__stats")
	<-signals
	log.Info("stopped", "calls", instagram.Calls())
	return nil
}
