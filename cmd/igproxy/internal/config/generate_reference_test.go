package config

import (
	"fmt"
	"strings"
)

const (
	referencePath   = "../../../../docs/configuration.md"
	referenceHeader = "# Configuration\n" + `
This page lists all keys of the configuration. It is generated from the table of settings that igproxy uses.
` + "[`config.example.yaml`](../config.example.yaml)" + ` has the same content in the form of a configuration file.

- ` + "`igproxy serve` needs one value: the client secret, best set with `IGPROXY_CLIENT_SECRET_FILE`" + `. Everything else is optional.
- **The file** is YAML, named by ` + "`--config` or `IGPROXY_CONFIG`" + `. An unknown key is an error, and the most similar known key is suggested.
  Anchors, aliases, tags and merge keys are refused. A key without a value counts as unset.
- **Environment variables** override the file. An empty variable counts as unset. An unknown variable that begins with ` + "`IGPROXY_`" + ` causes a warning.
- **Durations** have a unit: 250ms, 10s, 1h30m. **Sizes** are in bytes, or have a unit: 65536, 64KiB, 1MiB. **Switches** are true or false.
  **Lists** are written as [a, b] or as one item per line in the file, and as a,b in the environment; they have at most 64 items. A **text** has
  at most 4096 bytes.
- ` + "`igproxy check`" + ` reports all problems at once, with file and line. ` + "`igproxy check --online`" + ` also tests Redis, the connection to Meta and
  the client secret.
- **Changes**: a key marked live takes effect within seconds after a change of the configuration file, or of a file that the key
  names. A key marked restart takes effect only after a restart. So do changes of environment variables, and turning TLS on or off.
  The log and ` + "`igproxy reload`" + ` name the keys that wait for a restart.
  [operations.md](operations.md) has more.
- **Editors** that support JSON Schema complete and validate the file with [config.schema.json](config.schema.json) if this is the first line of the file:
  ` + "`# yaml-language-server: $schema=PATH`" + `. The schema accepts nearly every file that igproxy accepts.
  It refuses most texts that end with a newline, and it requires quotation marks around most texts that YAML would read
  as another type, such as a number. igproxy checks more than the schema does, including how keys fit together.
`
)

// referenceMD returns the text of docs/configuration.md.
func referenceMD() string {
	var b strings.Builder
	b.WriteString(referenceHeader)
	section := "none"
	for _, s := range settings() {
		parent, _ := s.sectionOf()
		if parent != section {
			section = parent
			title := "Top-level keys"
			if section != "" {
				title = section
			}
			referenceSection(&b, title, sectionDocs[section])
		}
		referenceRow(&b, s)
	}
	referenceSection(&b, "apps", appsDoc+" In variables, the items of the list are numbered from 0; a variable can only change an item that is in the file.")
	for _, s := range appSettings(0) {
		referenceRow(&b, s)
	}
	return b.String()
}

func referenceSection(b *strings.Builder, title, doc string) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| key | variable | value | default | changes | what it does |\n|---|---|---|---|---|---|\n", title, doc)
}

func referenceRow(b *strings.Builder, s setting) {
	value, byDefault := s.rangeText(), "none"
	for _, article := range []string{"a duration ", "a whole number ", "a fraction "} {
		value = strings.Replace(value, article, article[2:], 1)
	}
	if text := defaultText(s); text != "" {
		byDefault = "`" + text + "`"
	}
	if s.example != "" && s.kind != kindWord && !strings.HasPrefix(s.example, "(") {
		value += ", as in `" + s.example + "`"
	}
	changes := "live"
	if needsRestart(s.key) {
		changes = "restart"
	}
	key := strings.Replace(s.key, appKey(0)+".", "", 1)
	fmt.Fprintf(b, "| `%s` | `%s` | %s | %s | %s | %s |\n", key, envName(s.key), value, byDefault, changes, strings.ReplaceAll(s.doc, "|", `\|`))
}
