package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

func manCommand(env environment, app *cli.App) *cli.Command {
	return &cli.Command{
		Name:  "man",
		Usage: "print the manual page, with every command and every key",
		Description: "read it:     igproxy man | man -l -\n" +
			"install it:  igproxy man > /usr/local/share/man/man1/igproxy.1",
		Action: func(*cli.Context) error {
			_, err := fmt.Fprint(env.stdout, manual(app))
			return err
		},
	}
}

// manual is igproxy(1), for man(7). It is made of the commands and of the table of settings, as the help and config.example.yaml are. The
// library's own (ToManWithSection) knows no settings, and has the formatting of our descriptions run into one line.
func manual(app *cli.App) string {
	p := &page{}
	p.line(".TH IGPROXY 1", roffQuoted(buildDate()), roffQuoted("igproxy "+readBuild().version), roffQuoted("igproxy"))
	p.line(".nh") // no hyphens in the middle of a key
	p.line(".ad l")
	p.section("NAME")
	p.text("igproxy - " + app.Usage)
	p.section("SYNOPSIS")
	p.line(`.B igproxy`)
	p.line(`.I COMMAND`)
	p.line(`[\fIoptions\fR]`)
	p.section("DESCRIPTION")
	p.prose(app.Description)
	p.section("COMMANDS")
	for _, c := range app.Commands {
		p.command(c)
	}
	p.settings()
	p.section("ENVIRONMENT")
	p.terms(manEnvironment)
	p.section("EXIT STATUS")
	p.terms(manExits)
	p.section("FILES")
	p.terms(manFiles)
	p.section("SIGNALS")
	p.text("Of igproxy serve:")
	p.terms(manSignals)
	p.section("SEE ALSO")
	p.line(`.BR curl (1),`)
	p.line(`.BR redis\-server (1)`)
	p.line(".PP")
	p.text("https://github.com/igproxy/igproxy: README.md, SECURITY.md, and docs/ for operators, clients and errors.")
	return p.b.String()
}

// What the manual knows besides the commands and the settings.
var (
	manEnvironment = [][2]string{
		{"IGPROXY_SECTION_KEY", "The key section.key of the configuration; it wins over the file. A list is written a,b,c. An empty variable is as good as none."},
		{"IGPROXY_CONFIG", "The configuration file, if --config names none."},
		{"GOMEMLIMIT", "The limit that the heap keeps to. Without it: nine tenths of the container's memory limit, if there is one."},
		{"HTTPS_PROXY, NO_PROXY", "The proxy on the way to Instagram, and the hosts that need none."},
		{"NO_COLOR", "Set to anything: no colours at a terminal."},
	}
	manExits = [][2]string{
		{"0", "Success."},
		{"1", "It ran and failed."},
		{"2", "Wrong usage, or a wrong configuration."},
	}
	manFiles = [][2]string{
		{"config.example.yaml", "Every key with its default, to copy from. No configuration file is read that --config or IGPROXY_CONFIG does not name."},
		{"*_file", "The files that such keys name hold secrets, certificates and keys. Nobody but igproxy's user should be able to read them."},
	}
	manSignals = [][2]string{
		{"SIGTERM, SIGINT", "The first one drains: requests and stores under way are finished, for server.drain at the most. The second one ends igproxy now."},
		{"SIGHUP", "Reads the configuration again, as igproxy reload does. From a terminal that has gone it ends igproxy."},
	}
)

// page is a manual page being written.
type page struct{ b strings.Builder }

func (p *page) line(words ...string) { p.b.WriteString(strings.Join(words, " ") + "\n") }

func (p *page) section(name string) { p.line(".SH", name) }

// text is one paragraph, or what stands behind a term. A dot at the beginning of a line would make a request of it.
func (p *page) text(text string) {
	for _, line := range wrap(roff(text), helpWidth) {
		if strings.HasPrefix(line, ".") {
			line = `\&` + line
		}
		p.line(line)
	}
}

// prose is what help shows as it is written: paragraphs are filled, and those that are set in columns or indented stay as they are.
func (p *page) prose(text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			p.line(".PP")
		}
		if !strings.Contains(paragraph, "  ") {
			p.text(paragraph)
			continue
		}
		p.line(".nf")
		for line := range strings.SplitSeq(paragraph, "\n") {
			p.line(`\&` + roff(line))
		}
		p.line(".fi")
	}
}

// terms are terms in bold, each with its explanation.
func (p *page) terms(terms [][2]string) {
	for _, t := range terms {
		p.line(".TP")
		p.line(".B", roffBold(t[0]))
		p.text(t[1])
	}
}

func (p *page) command(c *cli.Command) {
	var options [][2]string
	for _, f := range c.Flags {
		if title := strings.TrimSpace(flagTitle(f)); title != helpFlag { // the library adds that one to the command that runs
			options = append(options, [2]string{title, flagUsage(f)})
		}
	}
	usage := c.Name
	if len(options) > 0 {
		usage += " [options]"
	}
	if c.ArgsUsage != "" {
		usage += " " + c.ArgsUsage
	}
	p.line(".SS", roffQuoted("igproxy "+usage))
	p.text(strings.ToUpper(c.Usage[:1]) + c.Usage[1:] + ".")
	if c.Description != "" {
		p.line(".PP")
		p.prose(c.Description)
	}
	p.terms(options)
}

// settings are the keys, section by section.
func (p *page) settings() {
	p.section("CONFIGURATION")
	p.text("The file is YAML: a key section.name stands as name below section. All keys but the client secret have a default, or may be left out. " +
		"An unknown key is an error. igproxy check tells all problems at once.")
	c := defaults()
	section := ""
	for _, s := range settings() {
		if parent, _ := s.sectionOf(); parent != section {
			section = parent
			p.line(".SS", roffQuoted(section))
			p.text(sectionDocs[section])
		}
		p.setting(s, &c)
	}
	p.line(".SS", appsKey)
	p.text(appsDoc)
	c.Apps = make([]AppConfig, 1)
	for _, s := range appSettings(0) {
		s.key = strings.TrimPrefix(s.key, appKey(0)+".")
		p.setting(s, &c)
	}
}

func (p *page) setting(s setting, c *Config) {
	title := s.key
	if value := valueText(s, c); value != "" {
		title += ": " + value
	}
	text := s.doc
	if s.kind != kindText && s.kind != kindList {
		text += " " + s.spanSentence()
	}
	if waitsForRestart(s.key) {
		text += " A change needs a restart."
	}
	p.terms([][2]string{{title, text}})
}

// roff escapes what roff would read as its own, or set as another character.
func roff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "`", `\(ga`, "~", `\(ti`, "^", `\(ha`).Replace(text)
}

// roffBold is the argument of .B: quotation marks in it would be taken for those around one.
func roffBold(text string) string { return strings.ReplaceAll(roff(text), `"`, `\(dq`) }

func roffQuoted(text string) string { return `"` + roffBold(text) + `"` }

// buildDate is the day of the commit; empty where it is not known. The day of today would make each page another.
func buildDate() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" && len(s.Value) >= len("2006-01-02") {
				return s.Value[:len("2006-01-02")]
			}
		}
	}
	return ""
}
