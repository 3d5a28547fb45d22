package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// file reads the YAML file, and reports whether its keys could be read. The library's errors are
// never shown, since they repeat values; its line is.
func (l *loader) file(path string) bool {
	at := place{file: printable(path)}
	text, err := readBounded(path, maxConfig)
	var f *fileError
	if errors.As(err, &f) {
		l.report(at, "", f.fault)
		return false
	}
	if line := binaryLine(text); line > 0 {
		at.line = line
		l.report(at, "", fault{"a byte that is not text", "save the file as UTF-8, without control characters"})
		return false
	}
	var documents []yaml.Node
	if err := yaml.Load(text, &documents, yaml.WithAllDocuments()); err != nil {
		at.line = errorLine(err)
		l.report(at, "", fault{"not valid YAML here", syntaxHint(text, at.line)})
		return false
	}
	if len(documents) > 1 {
		at.line = documents[1].Line
		l.report(at, "", fault{"a second YAML document", "keep one: remove the --- line and what does not belong"})
		return false
	}
	if len(documents) == 0 || len(documents[0].Content) == 0 || isNull(documents[0].Content[0]) {
		return true // empty, or comments only
	}
	root := documents[0].Content[0]
	at.line = root.Line
	if f := refuseNode(root); f != nil {
		l.report(at, "", *f)
		return false
	}
	if root.Kind != yaml.MappingNode {
		l.report(at, "", fault{"not a set of keys", "write lines such as listen: 127.0.0.1:8080; see config.example.yaml"})
		return false
	}
	l.mapping(at.file, "", root)
	return true
}

// binaryLine returns the line of the first byte that is no text, or 0.
func binaryLine(text []byte) int {
	line := 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == '\n':
			line++
		case r == utf8.RuneError && n == 1, r < ' ' && r != '\t' && r != '\r', r >= 0x7f && r < 0xa0 && r != 0x85:
			return line
		}
		i += n
	}
	return 0
}

// errorLine finds where the mistake begins: for the scanner that is where the construct starts, as
// with a quotation mark never closed.
func errorLine(err error) int {
	var e *yaml.LoadError
	if !errors.As(err, &e) {
		return 0
	}
	if e.Stage == yaml.ScannerStage && e.ContextMark.Line > 0 {
		return e.ContextMark.Line
	}
	return e.Mark.Line
}

func syntaxHint(text []byte, line int) string {
	if lines := strings.Split(string(text), "\n"); line > 0 && line <= len(lines) {
		bare := strings.TrimLeft(lines[line-1], " ")
		if strings.HasPrefix(bare, "\t") {
			return "the line is indented with a tab; use blanks"
		}
	}
	return "look at the indentation, and for a missing quotation mark, colon or blank after it"
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// refuseNode refuses the parts of YAML that make a configuration hard to read, or a small one
// large.
func refuseNode(n *yaml.Node) *fault {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		return &fault{"YAML anchors and aliases are not read here", "write the value itself"}
	case n.Style&yaml.TaggedStyle != 0:
		return &fault{"YAML tags are not read here", "write the value without the !"}
	}
	return nil
}

// mapping reads the keys of the file (section "") or of one section.
func (l *loader) mapping(file, section string, n *yaml.Node) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		at := place{file: file, line: key.Line}
		if f := refuseKey(key); f != nil {
			l.report(at, section, *f)
			continue
		}
		if first, twice := lines[key.Value]; twice {
			l.report(at, shownKey(join(section, key.Value)), fault{fmt.Sprintf("given twice, first on line %d", first), "keep one"})
			continue
		}
		lines[key.Value] = at.line
		if strings.Contains(key.Value, ".") || !slices.Contains(l.known(), join(section, key.Value)) {
			l.unknownKey(at, section, key.Value)
			continue
		}
		l.entry(at, join(section, key.Value), value)
	}
}

func join(section, key string) string {
	if section == "" {
		return key
	}
	return section + "." + key
}

func refuseKey(key *yaml.Node) *fault {
	if key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" {
		return &fault{"YAML merge keys are not read here", "write the keys themselves"}
	}
	if f := refuseNode(key); f != nil {
		return f
	}
	if key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" {
		return &fault{"a key that is not a name", seeExample}
	}
	return nil
}

// unknownKey never shows the value, which may be a secret under a misspelt name.
func (l *loader) unknownKey(at place, section, key string) {
	name := join(section, key)
	f := fault{"unknown key", seeExample}
	near := nearest(name, l.known())
	switch {
	case shownKey(name) == "":
		l.report(at, section, fault{"unknown key, not shown because it does not look like one", seeExample})
		return
	case near == name:
		parent, child, _ := strings.Cut(name, ".")
		f.fix = fmt.Sprintf("write %s: on a line of its own below %s:, indented", child, parent)
	case near != "":
		f.fix = "did you mean " + near + "?"
	}
	l.report(at, name, f)
}

// entry reads one known key: a section or a setting.
func (l *loader) entry(at place, name string, value *yaml.Node) {
	s, isSetting := l.find(name)
	f := refuseNode(value)
	switch {
	case f != nil:
		l.report(at, name, *f)
	case isNull(value): // as if the line were not there
	case isSetting:
		l.value(at, s, value)
	case name == appsKey:
		l.apps(at, value)
	case value.Kind == yaml.MappingNode:
		l.mapping(at.file, name, value)
	default:
		l.report(at, name, fault{"this is a section", "write its keys on the lines below, indented"})
	}
}

// apps reads the list of apps: each item is a section of its own.
func (l *loader) apps(at place, n *yaml.Node) {
	if n.Kind != yaml.SequenceNode {
		l.report(at, appsKey, fault{"not a list of apps", "write one app after a dash: - name: main"})
		return
	}
	if len(n.Content) > maxItems {
		l.report(at, appsKey, fault{fmt.Sprintf("more than %d apps", maxItems), "run a second sidecar"})
		return
	}
	l.config.Apps = make([]App, len(n.Content))
	for i, item := range n.Content {
		l.table = append(l.table, appSettings(i)...)
		here := place{file: at.file, line: item.Line}
		if f := refuseNode(item); f != nil {
			l.report(here, appsKey, *f)
		} else if item.Kind != yaml.MappingNode {
			l.report(here, appsKey, fault{"an item of this list is no app", "write name:, app_id: and client_secret_file: below the dash"})
		} else {
			l.places[appKey(i)] = here
			l.mapping(at.file, appKey(i), item)
		}
	}
}

// value reads a setting as it is written in the file: YAML's own idea of its type, where 010 is
// eight and 1e3 a number, is not asked.
func (l *loader) value(at place, s setting, n *yaml.Node) {
	var values []string
	switch {
	case s.kind == kindList && n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			if f := refuseNode(item); f != nil {
				l.report(at, s.key, *f)
				return
			}
			if item.Kind != yaml.ScalarNode || isNull(item) {
				l.report(at, s.key, fault{"an item of this list is not a plain value", "write " + s.key + " as [first, second]"})
				return
			}
			values = append(values, item.Value)
		}
	case s.kind == kindList:
		l.report(at, s.key, fault{"not a list", "write [first, second], or one item a line after a dash"})
		return
	case n.Kind != yaml.ScalarNode:
		l.report(at, s.key, fault{"one value belongs here, not a list or a section", "write it after the colon"})
		return
	case n.Value != "":
		values = []string{n.Value}
	}
	if len(values) == 0 {
		return // empty is the default
	}
	l.set(s, at, values)
	l.warnOfSecret(at, s, values[0])
}

// warnOfSecret: files are copied, committed and shown around.
func (l *loader) warnOfSecret(at place, s setting, value string) {
	switch {
	case s.key == "client_secret" || strings.HasSuffix(s.key, ".client_secret"):
		l.warn(at, s.key, fault{"a secret in the configuration file", "keep secrets out of the file: use client_secret_file or IGPROXY_CLIENT_SECRET"})
	case s.key == "redis.url" && hasPassword(value):
		l.warn(at, s.key, fault{"a password in the configuration file", "keep secrets out of the file: use redis.password_file or IGPROXY_REDIS_URL"})
	}
}
