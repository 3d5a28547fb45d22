package main

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy"
)

func checkCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "tell all configuration problems at once",
		Description: "Reads the configuration as serve would and opens nothing. With --online it also asks Redis, and Instagram\n" +
			"once with a token that is none, which proves the way there, TLS and the client secret. No secret is printed.",
		Flags: []cli.Flag{configFlag(),
			&cli.BoolFlag{Name: "online", Usage: "also prove Redis, upstream TLS and the client secret"}},
		Action: func(c *cli.Context) error {
			config, problems := loadConfig(c.String("config"), env.environ)
			failed := 0
			for _, p := range problems {
				word := "error  "
				if p.Warning {
					word = "warning"
				} else {
					failed++
				}
				fmt.Fprintf(env.stdout, "%s  %s\n", word, p)
			}
			if failed > 0 {
				fmt.Fprintf(env.stdout, "\n%s to mend.\n", count(failed, "problem"))
				return errConfiguration
			}
			fmt.Fprintln(env.stdout, "ok       configuration")
			if !c.Bool("online") {
				return nil
			}
			return checkOnline(c.Context, config, env)
		},
	}
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// checkOnline proves each part by itself, so that one failing does not hide the other.
func checkOnline(ctx context.Context, config Config, env environment) error {
	failed := 0
	say := func(part string, err error) {
		if err != nil {
			failed++
			fmt.Fprintf(env.stdout, "error    %s: %v\n", part, err)
			return
		}
		fmt.Fprintf(env.stdout, "ok       %s\n", part)
	}
	if config.Redis.Mode != "" {
		say("redis", checkRedis(ctx, config))
	}
	say("upstream "+config.Upstream.URL, checkUpstream(ctx, config))
	if failed > 0 {
		fmt.Fprintf(env.stdout, "\n%s to mend.\n", count(failed, "problem"))
		return errReported
	}
	return nil
}

func checkRedis(ctx context.Context, config Config) error {
	o, err := cacheOptions(config, nil, nil)
	if err != nil {
		return err
	}
	o.Redis.Timeout = max(o.Redis.Timeout, 2*time.Second) // a person waits here, not a request
	c, err := cache.New(o)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	keys, err := cache.NewKeys(cache.KeysOptions{Secret: []byte("check"), Scope: "check"})
	if err != nil {
		return err
	}
	return c.Check(ctx, keys.Derive("a token that is none"))
}

func checkUpstream(ctx context.Context, config Config) error {
	o, err := proxyOptions(config)
	if err != nil {
		return err
	}
	return proxy.Probe(ctx, o)
}
