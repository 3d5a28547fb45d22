package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/proxy"
	"github.com/igproxy/igproxy/proxy/mock"
)

// The secrets are only for the stand-in, so they may be in the source.
const (
	demoSecret         = "demo-app-secret-not-a-real-one"
	demoAppID          = "17841400000000002"
	demoCallback       = "https://app.example/callback"
	demoFacebookSecret = "demo-facebook-secret-not-a-real-one"
	demoFacebookID     = "17860000000000001"

	demoLatency = 200 * time.Millisecond // how long the stand-in waits before each response
	demoOpen    = 2 * time.Second        // how long the breaker stays open
	demoBurst   = 50                     // callers at once

	// demoRefreshBefore is longer than a token's life of 60 days, so that the first use of a token
	// leads to a refresh. The demo moves only the stand-in's clock: by igproxy's clock, the token
	// stays new.
	demoRefreshBefore = 61 * 24 * time.Hour
)

func demoCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "see it work, without an account and without Redis",
		Description: "Starts a stand-in for Meta and a sidecar in this process, plays some scenes,\n" +
			"prints curl commands to try, and keeps running.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "once", Usage: "end after the scenes; exit with 1 if a scene failed", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, os.Interrupt)
			defer stop()
			return demo(ctx.Done(), env, c.Bool("once"))
		},
	}
}

// demo plays the scenes and, unless once is set, waits until interrupted is closed.
func demo(interrupted <-chan struct{}, env environment, once bool) error {
	facebook := mock.App{AppID: demoFacebookID, Secret: demoFacebookSecret}
	instagram := mock.New(mock.Options{Secret: demoSecret, Facebook: facebook, Latency: demoLatency})
	upstream, err := mock.Start(instagram, mock.ServerOptions{Addr: "127.0.0.1:0"})
	if err != nil {
		return fmt.Errorf("cannot start the stand-in for Meta: %w", err)
	}
	defer upstream.Close()

	conf := config.Default()
	conf.Listen, conf.Admin.Listen = []string{"127.0.0.1:0"}, "127.0.0.1:0"
	conf.ClientSecret = proxy.NewSecret(demoSecret)
	conf.Upstream.URL, conf.Upstream.LoginURL = upstream.URL, upstream.URL
	conf.AppID, conf.RedirectURIs = demoAppID, []string{demoCallback}
	conf.Facebook.URL, conf.Facebook.AppID = upstream.URL, facebook.AppID
	conf.Facebook.ClientSecret = proxy.NewSecret(facebook.Secret)
	conf.Breaker.Open = demoOpen
	conf.Keep.Enabled, conf.Keep.RefreshBefore = true, demoRefreshBefore
	log := logging.Start(io.Discard, "error", "json")
	defer log.Close()
	s, err := sidecar.New(sidecar.Options{Config: conf, Log: log, Build: readBuild()})
	if err != nil {
		return err
	}
	signals, ended := make(chan os.Signal, 1), make(chan error, 1)
	go func() { ended <- s.Run(signals) }() // Run returns after the signal below, which is always sent
	d := &story{out: env.stdout, instagram: instagram, upstream: upstream.URL, sidecar: s.URL(), admin: s.AdminURL()}
	if d.play(interrupted) && !once {
		d.showHints()
		<-interrupted
	}
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		return err
	}
	if d.failed {
		return fmt.Errorf("a scene of the demo failed")
	}
	return nil
}
