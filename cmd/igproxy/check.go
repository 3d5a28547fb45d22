package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/tracing"
)

func checkCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "check",
		Usage: "tell all configuration problems at once",
		Description: "Reads the configuration as serve would, and listens on nothing. With --online it\n" +
			"also asks Redis, and Instagram once with a token that is none, which proves the\n" +
			"way there, TLS and the client secret. No secret is printed.",
		Flags: []cli.Flag{configFlag(),
			&cli.BoolFlag{Name: "online", Usage: "also prove Redis, upstream TLS and the client secret", DisableDefaultText: true}},
		Action: func(c *cli.Context) error {
			conf, problems := config.Load(c.String("config"), env.environ)
			r := &results{printer: newPrinter(env)}
			for _, p := range problems {
				r.problem(p)
			}
			if r.failed > 0 {
				r.sum()
				return errConfiguration
			}
			collector, warnings := tracing.Collector(env.get)
			for _, w := range warnings {
				r.print(yellow, "warning", "environment: "+w)
			}
			if collector == "" {
				collector = "off"
			} else {
				collector = "on, to " + collector
			}
			r.ok("configuration", "listen "+conf.Listen+", admin "+conf.Admin.Listen, "open to "+conf.OpenTo(), "apps "+conf.AppNames(), "upstream "+conf.Upstream.URL, "cache "+conf.CacheTiers(), "traces "+collector)
			if !c.Bool("online") {
				return nil
			}
			return checkOnline(c.Context, conf, r)
		},
	}
}

// results prints what was found, one verdict a paragraph, and counts.
type results struct {
	printer *printer
	failed  int
}

func (r *results) print(style, verdict, text string, below ...string) {
	fmt.Fprintf(r.printer.out, "%s  %s\n", r.printer.paint(style, fmt.Sprintf("%-7s", verdict)), text)
	for _, line := range below {
		fmt.Fprintf(r.printer.out, "         %s\n", line)
	}
}

func (r *results) ok(text string, below ...string) { r.print(green, "ok", text, below...) }

// problem prints the next step on a line of its own.
func (r *results) problem(p config.Problem) {
	style, verdict := yellow, "warning"
	if !p.Warning {
		style, verdict = red, "error"
		r.failed++
	}
	var below []string
	if p.Fix != "" {
		below = append(below, p.Fix)
	}
	p.Fix = ""
	r.print(style, verdict, p.String(), below...)
}

func (r *results) sum() { fmt.Fprintf(r.printer.out, "\n%s to mend.\n", count(r.failed, "problem")) }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// checkOnline proves each part by itself, so that one failing does not hide the other.
func checkOnline(ctx context.Context, conf config.Config, r *results) error {
	say := func(part string, err error) {
		if err != nil {
			r.failed++
			r.print(red, "error", part+": "+err.Error())
			return
		}
		r.ok(part)
	}
	if conf.Redis.Mode != "" {
		say("redis", sidecar.CheckRedis(ctx, conf))
	}
	proofs, err := sidecar.CheckUpstream(ctx, conf, readBuild().Version)
	if err != nil {
		say("upstream "+conf.Upstream.URL, err)
	}
	for _, p := range proofs {
		say(p.Part, p.Err)
	}
	if r.failed > 0 {
		r.sum()
		return errReported
	}
	return nil
}
