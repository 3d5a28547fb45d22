package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/logging"
	"github.com/igproxy/igproxy/proxy/admin"
)

func statusCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "status",
		Usage: "show what a running sidecar has done in the last 15 minutes",
		Description: "Asks /status on admin.listen, which has a page of the same at /, and shows\n" +
			"requests, hits, times, breakers, Redis and rate limits. It does not need the\nclient secret.",
		Flags: []cli.Flag{configFlag(),
			&cli.BoolFlag{Name: "watch", Aliases: []string{"w"}, Usage: "show it again and again, until a signal comes", DisableDefaultText: true},
			&cli.DurationFlag{Name: "every", Value: 2 * time.Second, Usage: "with --watch: every `TIME`"},
			&cli.BoolFlag{Name: "json", Usage: "print the answer of /status as it is", DisableDefaultText: true},
			timeoutFlag(2 * time.Second)},
		Action: func(c *cli.Context) error {
			if c.Duration("every") <= 0 {
				return &usageError{"--every: write a time above 0, such as 2s"}
			}
			address, err := adminAddress(c, env)
			if err != nil {
				return err
			}
			s := statusReader{address: address, timeout: c.Duration("timeout"), json: c.Bool("json"), out: env.stdout}
			if !c.Bool("watch") {
				return s.show(c.Context)
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			return s.watch(ctx, c.Duration("every"), logging.IsTerminal(env.stdout) && !s.json)
		},
	}
}

// statusReader requests /status and prints it as text, or as it came.
type statusReader struct {
	address string
	timeout time.Duration
	json    bool
	out     io.Writer
}

// Control sequences for a terminal: the alternate screen, without a cursor, and back; to the top
// left; clear the rest of a line, and of the screen.
const (
	otherScreen  = "\x1b[?1049h\x1b[?25l"
	firstScreen  = "\x1b[?25h\x1b[?1049l"
	toTheTop     = "\x1b[H"
	restOfLine   = "\x1b[K\n"
	restOfScreen = "\x1b[J"
)

// show prints the status once.
func (s statusReader) show(ctx context.Context) error {
	text, err := s.read(ctx)
	if err != nil {
		return err
	}
	_, err = io.WriteString(s.out, text)
	return err
}

// watch prints the status until ctx ends. It continues when the sidecar does not answer: it may be
// restarting.
func (s statusReader) watch(ctx context.Context, every time.Duration, terminal bool) error {
	if terminal {
		_, _ = io.WriteString(s.out, otherScreen)
		defer func() { _, _ = io.WriteString(s.out, firstScreen) }()
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		text, err := s.read(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			text = err.Error() + "\n"
		}
		if terminal {
			text = onScreen(text)
		} else if !s.json {
			text += "\n"
		}
		if _, err := io.WriteString(s.out, text); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s statusReader) read(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	var text json.RawMessage
	status, err := askAdmin(ctx, s.address, http.MethodGet, "/status", "", &text)
	if err != nil {
		return "", err
	}
	var got admin.Status
	if status != http.StatusOK || json.Unmarshal(text, &got) != nil || len(got.Outcomes) != len(got.Live.Counts) {
		return "", fmt.Errorf("%s answered, but not as igproxy does; check admin.listen", s.address)
	}
	if s.json {
		return string(text) + "\n", nil
	}
	return strings.Map(func(r rune) rune { // whatever answered: none of it may control a terminal
		if !unicode.IsGraphic(r) && r != '\n' {
			return -1
		}
		return r
	}, statusText(got)), nil
}
