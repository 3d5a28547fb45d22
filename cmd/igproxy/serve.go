package main

import (
	"errors"
	"fmt"
	stdlog "log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

// configFlag returns --config, the flag of every command that reads the configuration.
func configFlag() *cli.StringFlag {
	return &cli.StringFlag{Name: "config", Aliases: []string{"c"}, EnvVars: []string{"IGPROXY_CONFIG"},
		Usage: "read the configuration from `FILE` (YAML)"}
}

func serveCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the sidecar",
		Description: "Needs the client secret of at least one app; everything else is optional:\n" +
			"  Instagram Login  IGPROXY_CLIENT_SECRET_FILE or IGPROXY_CLIENT_SECRET\n" +
			"  Facebook Login   IGPROXY_FACEBOOK_CLIENT_SECRET_FILE and IGPROXY_FACEBOOK_APP_ID\n" +
			"  Threads          IGPROXY_THREADS_CLIENT_SECRET_FILE\n" +
			"The variable IGPROXY_A_B overrides key a.b of the configuration file.\n" +
			"config.example.yaml documents every key.\n\n" +
			"By default, listens on 127.0.0.1:8080 for apps, and on 127.0.0.1:9090 for\n" +
			"/healthz, /readyz, /metrics and a page at /. On the first SIGTERM or SIGINT\n" +
			"igproxy drains, and on the second it ends at once. Changed files are reloaded\n" +
			"automatically within seconds; no signal is needed.",
		Flags: []cli.Flag{configFlag()},
		Action: func(c *cli.Context) error {
			dumps := sidecar.NoCoreDumps() // before igproxy reads a secret
			load := func() (config.Config, []config.Problem) { return config.Load(c.String("config"), env.environ) }
			conf, problems := load()
			log := logging.Start(env.stderr, conf.Log.Level, conf.Log.Format)
			if dumps != nil {
				log.Logger.Warn("core dumps are possible", "error", dumps.Error())
			}
			err := reportProblems(env, problems, log.Logger)
			if err == nil {
				err = serve(sidecar.Options{Config: conf, Path: c.String("config"), Load: load, Build: readBuild()}, log)
			}
			if !log.Close() && err != nil {
				return errReported // standard error is blocked, so printing err could block too
			}
			return err
		},
	}
}

// reportProblems prints errors to standard error as plain lines, for the person who starts igproxy.
// If all problems are warnings, it logs them instead.
func reportProblems(env environment, problems []config.Problem, log *slog.Logger) (err error) {
	for _, p := range problems {
		if !p.Warning {
			err = errConfiguration
			fmt.Fprintf(env.stderr, "igproxy: %s\n", p)
		}
	}
	if err != nil {
		return err
	}
	for _, p := range problems {
		log.Warn("configuration problem", "where", p.Where, "key", p.Key, "what", p.What, "next_step", p.Fix)
	}
	return nil
}

func serve(o sidecar.Options, lines *logging.Log) error {
	log := lines.Logger
	slog.SetDefault(log) // package main owns the process, so libraries that use the default logger log here too
	stdlog.SetOutput(logging.ForNetHTTP(log, slog.LevelInfo).Writer())
	signals, reloads := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	signal.Notify(reloads, syscall.SIGHUP)
	defer signal.Stop(reloads)
	signal.Ignore(syscall.SIGPIPE) // otherwise Go ends the process when the log's reader is gone
	sidecar.TuneMemory(log)
	o.Reloads, o.Log = reloads, lines
	s, err := sidecar.New(o)
	var wrong sidecar.ConfigurationError
	switch {
	case errors.As(err, &wrong):
		return usageError("%v", wrong)
	case err != nil:
		return err
	}
	return s.Run(signals)
}
