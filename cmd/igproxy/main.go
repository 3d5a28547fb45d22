// Command igproxy is a caching sidecar for Instagram's token endpoint: an app points its base URL at it, and igproxy adds the client
// secret, asks Instagram once, and remembers the answer. This package is the command line, the configuration and the wiring; it decides
// nothing about tokens.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it ran and failed
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	os.Exit(run(context.Background(), os.Args, environment{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}))
}

// environment is what a command sees of the world, so that tests can stand in for it.
type environment struct {
	stdout, stderr io.Writer
	environ        []string
}

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string, env environment) int {
	err := newApp(env).RunContext(ctx, args)
	var usage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errReported):
		return exitFailed
	case errors.Is(err, errConfiguration):
		return exitUsage
	case errors.As(err, &usage):
		fmt.Fprintf(env.stderr, "igproxy: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(env.stderr, "igproxy: %v\n", err)
	return exitFailed
}

var (
	// errReported ends a command whose failure has been told already.
	errReported = errors.New("reported")
	// errConfiguration ends a command whose configuration problems have been told already.
	errConfiguration = errors.New("configuration")
)

// usageError is a wrong command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func newApp(env environment) *cli.App {
	app := &cli.App{
		Name:                 "igproxy",
		Usage:                "the sidecar that holds the Instagram app secret so that no app has to",
		Version:              readBuild().version,
		HideVersion:          true,
		EnableBashCompletion: true,
		Writer:               env.stdout,
		ErrWriter:            env.stderr,
		Description: "Point an app's base URL at igproxy and call GET /access_token as you would call Instagram.\n" +
			"igproxy adds the client secret, joins concurrent exchanges into one, remembers the answer,\n" +
			"and keeps answering when Redis or Instagram fail.\n\n" +
			"Start with:  igproxy demo",
		Commands:       []*cli.Command{serveCommand(env), demoCommand(env), mockCommand(env), checkCommand(env), healthcheckCommand(env), versionCommand(env), completionCommand(env)},
		ExitErrHandler: func(*cli.Context, error) {}, // exiting is main's
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return &usageError{fmt.Sprintf("unknown command %q; see igproxy --help", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError: usage,
	}
	for _, c := range app.Commands {
		strict(c)
	}
	return app
}

func usage(_ *cli.Context, err error, _ bool) error {
	return &usageError{err.Error() + "; see --help"}
}

// strict makes leftover arguments an error: urfave/cli would swallow every flag that follows one.
func strict(c *cli.Command) {
	action, args := c.Action, c.ArgsUsage
	c.OnUsageError = usage
	c.Action = func(ctx *cli.Context) error {
		if args == "" && ctx.Args().Present() {
			return &usageError{fmt.Sprintf("%s takes no argument, got %q; flags need -- in front", c.Name, ctx.Args().First())}
		}
		return action(ctx)
	}
	if args == "" {
		c.ArgsUsage = " "
	}
}
