package main

import (
	"fmt"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

// configFlag is shared by every command that reads the configuration.
func configFlag() *cli.StringFlag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, EnvVars: []string{"IGPROXY_CONFIG"},
		Usage: "read the configuration from `FILE` (YAML)"}
}

func serveCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the sidecar",
		Description: "Needs the client secret, in IGPROXY_CLIENT_SECRET_FILE or IGPROXY_CLIENT_SECRET;\n" +
			"all else has a default. A key a.b of the configuration file is IGPROXY_A_B in\n" +
			"the environment, which wins. config.example.yaml documents every key.\n\n" +
			"Listens on 127.0.0.1:8080 for apps, and on 127.0.0.1:9090 for /healthz, /readyz,\n" +
			"/metrics and a page at /. The first SIGTERM or SIGINT drains, the second ends\nnow. " +
			"SIGHUP reads the configuration again; a changed file is found without it.",
		Flags: []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			dumps := sidecar.NoCoreDumps() // before there is a secret
			load := func() (config.Config, []config.Problem) { return config.Load(c.String("config"), env.environ) }
			conf, problems := load()
			log := logging.Start(env.stderr, conf.Log.Level, conf.Log.Format)
			if dumps != nil {
				log.Logger.Warn(dumps.Error())
			}
			err := report(env, problems, log.Logger)
			if err == nil {
				err = serve(sidecar.Options{Config: conf, Path: c.String("config"), Load: load, Build: readBuild()}, log)
			}
			if !log.Close() && err != nil {
				return errReported // main would wait for standard error for ever
			}
			return err
		},
	}
}

// report tells warnings to the log. Errors go to standard error as plain lines: nobody reads JSON
// at that moment.
func report(env environment, problems []config.Problem, log *slog.Logger) error {
	failed := false
	for _, p := range problems {
		if !p.Warning {
			failed = true
			fmt.Fprintf(env.stderr, "igproxy: %s\n", p)
		}
	}
	if failed {
		return errConfiguration
	}
	for _, p := range problems {
		log.Warn("configuration", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
	}
	return nil
}

func serve(o sidecar.Options, lines *logging.Log) error {
	log := lines.Logger
	slog.SetDefault(log) // package main owns the process; libraries that speak through the default are heard too
	stdlog.SetOutput(logging.ForNetHTTP(log, slog.LevelInfo).Writer())
	cache.RouteLogs(log)
	signals, reloads := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	signal.Notify(reloads, syscall.SIGHUP)
	defer signal.Stop(reloads)
	signal.Ignore(syscall.SIGPIPE) // a log whose reader has gone is no reason to stop, as Go would have it for standard error
	sidecar.TuneMemory(log)
	o.Reloads, o.Logger, o.SetLevel, o.LinesDropped = reloads, log, lines.SetLevel, lines.Dropped
	s, err := sidecar.New(o)
	if err != nil {
		return err
	}
	return s.Run(signals)
}
