package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/mock"
)

// The demo's own values. The secret is the stand-in's, so it may be in a program.
const (
	demoSecret   = "demo-app-secret-not-a-real-one"
	demoAppID    = "17841400000000002"
	demoCallback = "https://app.example/callback"
	demoLatency  = 200 * time.Millisecond
	demoOpen     = 2 * time.Second
	demoBurst    = 50
)

func demoCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "see it work, without an account and without Redis",
		Description: "Starts a stand-in Instagram and a sidecar in this process, plays a story,\n" +
			"and stays up with curl lines to try.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "once", Usage: "end after the scenes; exit with 1 if one did not go as told", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			signals := make(chan os.Signal, 2)
			signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
			defer signal.Stop(signals)
			return demo(env, c.Bool("once"), signals)
		},
	}
}

func demo(env environment, once bool, signals <-chan os.Signal) error {
	instagram := mock.New(mock.Options{Secret: demoSecret, Latency: demoLatency})
	upstream, err := mock.Start(instagram, mock.ServerOptions{Addr: "127.0.0.1:0"})
	if err != nil {
		return fmt.Errorf("the stand-in Instagram: %w", err)
	}
	defer upstream.Close()

	conf := config.Default()
	conf.Listen, conf.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	conf.ClientSecret = proxy.NewSecret(demoSecret)
	conf.Upstream.URL, conf.Upstream.LoginURL = upstream.URL, upstream.URL
	conf.AppID, conf.RedirectURIs = demoAppID, []string{demoCallback}
	conf.Breaker.Open = demoOpen
	s, err := sidecar.New(sidecar.Options{Config: conf, Logger: slog.New(slog.DiscardHandler), Build: readBuild()})
	if err != nil {
		return err
	}
	stop, ended := make(chan os.Signal, 2), make(chan error, 1)
	go func() { ended <- s.Run(stop) }() // ends by the signal below, which is always sent
	d := &story{printer: newPrinter(env), instagram: instagram, upstream: upstream.URL, sidecar: s.URL(), admin: s.AdminURL()}
	failed := d.run(signals)
	if failed == 0 && !d.interrupted {
		d.printer.title("All scenes went as told.", "")
	}
	if !once && !d.interrupted {
		d.showHints()
		<-signals
	}
	stop <- syscall.SIGTERM
	if err := <-ended; err != nil {
		return err
	}
	if failed > 0 {
		fmt.Fprintf(env.stderr, "igproxy: %s of the demo did not go as told\n", count(failed, "scene"))
		return errReported
	}
	return nil
}
