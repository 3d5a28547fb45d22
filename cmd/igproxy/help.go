package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// helpWidth is what fits the narrowest terminal in use.
const helpWidth = 80

// helpFlag is listed by hand: the library adds it to the commands by itself, but not to our texts.
const helpFlag, helpUsage = "-h, --help", "show this help"

// helpOf is the help of one command. The library's own repeats placeholders, tells that false is false by default, and wraps nothing. Its
// text is a template to the library, so it must hold no {{.
func helpOf(c *cli.Command) string {
	var b strings.Builder
	usage := c.Name
	if len(c.Flags) > 0 {
		usage += " [options]"
	}
	fmt.Fprintf(&b, "igproxy %s: %s\n\nUsage: igproxy %s %s\n", c.Name, c.Usage, usage, c.ArgsUsage)
	if c.Description != "" {
		fmt.Fprintf(&b, "\n%s\n", c.Description)
	}
	if len(c.Flags) > 0 {
		fmt.Fprintf(&b, "\nOptions:\n%s", flagLines(c.Flags))
	}
	return trimLines(b.String())
}

// helpOfApp is the help of igproxy as a whole.
func helpOfApp(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, "igproxy: %s\n\nUsage: igproxy COMMAND [options]\n\n%s\n\nCommands:\n", app.Usage, app.Description)
	var rows [][2]string
	for _, c := range app.Commands {
		rows = append(rows, [2]string{c.Name, c.Usage})
	}
	b.WriteString(columns(rows))
	fmt.Fprintf(&b, "\nOptions:\n%s", flagLines(app.Flags))
	b.WriteString("\nigproxy COMMAND --help tells more about one command.\nExit codes: 0 ok, 1 failed, 2 wrong usage or configuration.\n")
	return trimLines(b.String())
}

func flagLines(flags []cli.Flag) string {
	var rows [][2]string
	for _, f := range flags {
		rows = append(rows, [2]string{flagTitle(f), flagUsage(f)})
	}
	return columns(append(rows, [2]string{helpFlag, helpUsage}))
}

// flagTitle is "-c, --config FILE": the short name first, so that the long ones stand below each other.
func flagTitle(f cli.Flag) string {
	title, short := "", "    "
	for _, name := range f.Names() {
		if len(name) == 1 {
			short = "-" + name + ", "
		} else {
			title = "--" + name
		}
	}
	if _, rest, ok := strings.Cut(documented(f).GetUsage(), "`"); ok {
		placeholder, _, _ := strings.Cut(rest, "`")
		title += " " + placeholder
	}
	return short + title
}

func flagUsage(f cli.Flag) string {
	text := strings.ReplaceAll(documented(f).GetUsage(), "`", "")
	switch f := f.(type) {
	case *cli.StringFlag:
		if f.Value != "" {
			text += " (default: " + f.Value + ")"
		}
	case *cli.DurationFlag:
		if f.Value != 0 {
			text += " (default: " + durationText(f.Value) + ")"
		}
	}
	if env := documented(f).GetEnvVars(); len(env) > 0 {
		text += " [$" + strings.Join(env, ", $") + "]"
	}
	return text
}

// documented is what every flag of the library's can tell of itself.
func documented(f cli.Flag) cli.DocGenerationFlag { return f.(cli.DocGenerationFlag) }

// columns sets two columns, indented, the second wrapped to its own width.
func columns(rows [][2]string) string {
	left := 0
	for _, r := range rows {
		left = max(left, utf8.RuneCountInString(r[0]))
	}
	var b strings.Builder
	for _, r := range rows {
		title := r[0]
		for _, line := range wrap(r[1], helpWidth-left-4) {
			fmt.Fprintf(&b, "  %-*s  %s\n", left, title, line)
			title = ""
		}
	}
	return b.String()
}

// wrap breaks a text at its blanks into lines of at most width characters; a longer word has a line of its own.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// trimLines takes the blanks off the end of each line.
func trimLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func helpCommand(env environment, app *cli.App) *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "tell about igproxy, or about one command",
		ArgsUsage: "[COMMAND]",
		BashComplete: func(*cli.Context) {
			for _, c := range app.Commands {
				fmt.Fprintln(env.stdout, c.Name)
			}
		},
		Action: func(c *cli.Context) error {
			text := app.CustomAppHelpTemplate
			switch c.Args().Len() {
			case 0:
			case 1:
				name := c.Args().First()
				command := app.Command(name)
				if command == nil {
					return unknownCommand(app, name)
				}
				text = command.CustomHelpTemplate
			default:
				return &usageError{"help takes one command at most"}
			}
			_, err := fmt.Fprint(env.stdout, text)
			return err
		},
	}
}

func unknownCommand(app *cli.App, name string) error {
	var names []string
	for _, c := range app.Commands {
		names = append(names, c.Name)
	}
	if near := nearest(name, names); near != "" {
		return &usageError{fmt.Sprintf("unknown command %q; did you mean %s?", name, near)}
	}
	return &usageError{fmt.Sprintf("unknown command %q; see igproxy --help", name)}
}
