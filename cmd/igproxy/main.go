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
	"strings"

	"github.com/urfave/cli/v2"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // it ran and failed
	exitUsage  = 2 // wrong usage or configuration
)

func main() {
	os.Exit(run(context.Background(), os.Args, environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}))
}

// environment is what a command sees of the world, so that tests can stand in for it.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	environ        []string
}

// get returns a variable; the last one wins, as it does in a shell.
func (e environment) get(name string) (value string) {
	for _, entry := range e.environ {
		if v, ok := strings.CutPrefix(entry, name+"="); ok {
			value = v
		}
	}
	return value
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
		HideVersion:          true, // ours below looks like the version command
		HideHelpCommand:      true, // ours reads like the rest
		EnableBashCompletion: true,
		Writer:               env.stdout,
		ErrWriter:            env.stderr,
		Description: "Point an app's base URL at igproxy and call GET /access_token as you would call\n" +
			"Instagram. igproxy adds the client secret, joins concurrent exchanges into one,\n" +
			"remembers the answer, and keeps answering when Redis or Instagram fail.\n\n" +
			"To see it work:  igproxy demo",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "version", Usage: "print the version"}},
		Commands: []*cli.Command{serveCommand(env), demoCommand(env), mockCommand(env), checkCommand(env), healthcheckCommand(env),
			statusCommand(env), reloadCommand(env), purgeCommand(env), versionCommand(env),
			completionCommand(env)},
		ExitErrHandler: func(*cli.Context, error) {}, // exiting is main's
		OnUsageError:   usage,
	}
	app.Action = func(c *cli.Context) error {
		switch {
		case c.Args().Present():
			return unknownCommand(app, c.Args().First())
		case c.Bool("version"):
			return printVersion(env)
		}
		return cli.ShowAppHelp(c)
	}
	app.Commands = append(app.Commands, manCommand(env, app), helpCommand(env, app))
	for _, c := range app.Commands {
		strict(c)
		c.CustomHelpTemplate = helpOf(c)
	}
	app.CustomAppHelpTemplate = helpOfApp(app)
	app.Command("help").CustomHelpTemplate = app.CustomAppHelpTemplate
	app.Flags = append(app.Flags, cli.HelpFlag) // the library adds it only together with its own help command
	return app
}

// usage puts the library's words into ours.
func usage(c *cli.Context, err error, _ bool) error {
	command := c.Command.HelpName
	if command == "" {
		command = "igproxy"
	}
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: "); ok {
		text = "unknown option " + dashed(name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		text = dashed(name) + " needs a value"
	}
	if value, rest, ok := strings.Cut(text, " for flag "); ok {
		name, _, _ := strings.Cut(rest, ":")
		text = dashed(name) + ": " + value
	}
	return &usageError{text + "; see " + command + " --help"}
}

// dashed writes an option as people do: --config and -c. The library has one dash for both.
func dashed(name string) string {
	name = strings.TrimLeft(name, "-")
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// strict makes leftover arguments an error: urfave/cli would swallow every flag that follows one.
func strict(c *cli.Command) {
	action := c.Action
	c.OnUsageError = usage
	c.HideHelpCommand = true
	c.Action = func(ctx *cli.Context) error {
		if c.ArgsUsage == "" && ctx.Args().Present() {
			return &usageError{fmt.Sprintf("%s takes no argument, got %q; see igproxy %s --help", c.Name, ctx.Args().First(), c.Name)}
		}
		return action(ctx)
	}
}
