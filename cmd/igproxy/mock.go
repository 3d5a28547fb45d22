package main

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/proxy/proxytest"
)

func mockCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "mock",
		Usage: "run a stand-in Instagram: real envelopes, counters and faults, no account needed",
		Description: "Meta has no sandbox for tokens; this is one. Any token is good unless its prefix names a fault,\n" +
			"as in access_token=expired-1. Counters: GET /__stats, POST /__reset. Faults for every token:\n" +
			"POST /__fault?mode=down (empty mode ends it), POST /__latency?d=200ms. GET /__faults lists them.\n\n" +
			faultList(),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Value: "127.0.0.1:8081", Usage: "`ADDRESS` to listen on; port 0 takes a free one"},
			&cli.DurationFlag{Name: "latency", Usage: "wait this long before each answer"},
			&cli.BoolFlag{Name: "tls", Usage: "speak TLS with a throw-away certificate"},
			&cli.StringFlag{Name: "ca-out", Usage: "with --tls, write the authority to `FILE`, for upstream.ca_file"},
			&cli.StringFlag{Name: "secret", Usage: "accept this client secret only (a made-up one: command lines can be read by others); default: any"},
		},
		Action: func(c *cli.Context) error {
			if c.String("ca-out") != "" && !c.Bool("tls") {
				return &usageError{"--ca-out needs --tls"}
			}
			return mock(c, env)
		},
	}
}

func faultList() string {
	var b strings.Builder
	b.WriteString("Faults by token prefix:\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, f := range proxytest.Faults() {
		fmt.Fprintf(w, "  %s-\t%s\n", f.Name, f.Description)
	}
	_ = w.Flush()
	return strings.TrimRight(b.String(), "\n")
}

func mock(c *cli.Context, env environment) error {
	log := newLogger(env.stderr, "info", "auto")
	instagram := proxytest.New(proxytest.Options{Secret: c.String("secret"), Latency: c.Duration("latency"), Logger: log})
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	server, err := proxytest.Start(instagram, proxytest.ServerOptions{Addr: c.String("listen"), TLS: c.Bool("tls")})
	if err != nil {
		return fmt.Errorf("cannot listen on %s: %w", c.String("listen"), err)
	}
	defer server.Close()
	if path := c.String("ca-out"); path != "" {
		if err := os.WriteFile(path, server.CAPEM, 0o644); err != nil {
			return fmt.Errorf("--ca-out: %w", err)
		}
	}
	log.Info("the stand-in Instagram is listening", "url", server.URL, "try", server.URL+"/__stats")
	<-signals
	log.Info("stopped", "calls", instagram.Calls())
	return nil
}
