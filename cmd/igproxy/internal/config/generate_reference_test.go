package config

import (
	"fmt"
	"strings"
)

const (
	referencePath   = "../../../../docs/configuration.md"
	referenceHeader = "# Configuration\n" + `
Every key there is, made from the table that igproxy itself reads (a test holds the two together). ` + "[`config.example.yaml`](../config.example.yaml)" + ` has
the same as a file to copy from.

- ` + "`igproxy serve` needs one value: the client secret, best by `IGPROXY_CLIENT_SECRET_FILE`" + `. All else has a default.
- **The file** is YAML, named by ` + "`--config` or `IGPROXY_CONFIG`" + `. An unknown key is an error, and the nearest known one is told. Anchors, tags and merge keys
  are refused. A key without a value is as good as none.
- **The environment** wins over the file. An empty variable is as good as none. An unknown variable that begins with ` + "`IGPROXY_`" + ` is a warning.
- **Durations** have a unit: 250ms, 10s, 1h30m. **Sizes** are bytes, or have one: 65536, 64KiB, 1MiB. **Switches** are true or false. **Lists**
  are [a, b] or one item a line in the file, and a,b in the environment; at most 64 items. A **text** has at most 4096 bytes.
- ` + "`igproxy check`" + ` tells every problem at once, with file and line; ` + "`igproxy check --online`" + ` also proves Redis, the way to Instagram and the client secret.
- **Changes**: what is live takes effect when the file, or a file that it names, has changed; what says restart waits for one, and so do all
  variables, and TLS that is turned on or off. The log, and ` + "`igproxy reload`" + `, say which keys wait. [operations.md](operations.md) has more.
- **Editors** that know JSON Schema complete and check the file by [config.schema.json](config.schema.json), if this is its first line:
  ` + "`# yaml-language-server: $schema=PATH`" + `. The schema takes what igproxy takes, but for a text that
  looks like a number and has no quotation marks; igproxy looks closer, and at what keys mean together.
`
)

// referenceMD writes the page.
func referenceMD() string {
	c := Default()
	var b strings.Builder
	b.WriteString(referenceHeader)
	section := "none"
	for _, s := range settings() {
		parent, _ := s.sectionOf()
		if parent != section {
			section = parent
			title := "The file's own keys"
			if section != "" {
				title = section
			}
			referenceSection(&b, title, sectionDocs[section])
		}
		referenceRow(&b, s, &c)
	}
	referenceSection(&b, "apps", appsDoc+" A list. The variables count from 0, and change an app that the file lists.")
	c.Apps = make([]App, 1)
	for _, s := range appSettings(0) {
		referenceRow(&b, s, &c)
	}
	return b.String()
}

func referenceSection(b *strings.Builder, title, doc string) {
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n| key | variable | value | default | changes | what it does |\n|---|---|---|---|---|---|\n", title, doc)
}

func referenceRow(b *strings.Builder, s setting, c *Config) {
	value, byDefault := s.rangeText(), "none"
	for _, article := range []string{"a duration ", "a whole number ", "a fraction "} {
		value = strings.Replace(value, article, article[2:], 1)
	}
	if text := defaultText(s, c); text != "" {
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
