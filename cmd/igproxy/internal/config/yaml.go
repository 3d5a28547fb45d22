package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// maxConfig is the largest configuration file that is read, in bytes.
const maxConfig = 1 << 20

// readFile reads the YAML file and reports whether its keys could be read. It shows the line of a
// syntax error but never the library's message, which repeats values.
func (l *loader) readFile(path string) bool {
	if l.file = escaped(path); mayBeSecret(path) {
		l.file = shownPath(path)
	}
	refuse := func(line int, what, fix string) bool {
		l.report(l.line(line), "", fault{what, fix})
		return false
	}
	text, err := readBounded(path, maxConfig)
	var f *fileError
	if errors.As(err, &f) {
		return refuse(0, f.what, f.fix)
	}
	var documents []yaml.Node
	if err := yaml.Load(text, &documents, yaml.WithAllDocuments()); err != nil {
		return refuse(errorLine(err), "not valid YAML",
			"check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8")
	}
	if len(documents) > 1 {
		return refuse(documents[1].Line, "a second YAML document", "keep one, and remove the --- line")
	}
	if len(documents) == 0 || len(documents[0].Content) == 0 || isNull(documents[0].Content[0]) {
		return true // the file is empty, or has only comments
	}
	root := documents[0].Content[0]
	if !l.isPlain(root) {
		return false
	}
	if root.Kind != yaml.MappingNode {
		return refuse(root.Line, "not a set of keys", "write lines such as listen: 127.0.0.1:8080; see config.example.yaml")
	}
	l.mapping("", root)
	return true
}

// errorLine returns the line where the mistake begins, or 0 if it is unknown. For an error of the
// scanner, such as a missing quotation mark, this is the line on which the unfinished text starts.
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

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// isPlain reports whether a node is free of the features of YAML that make a configuration hard to
// read, or let a small file expand to a large one. It reports such features as problems.
func (l *loader) isPlain(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 ||
		n.Kind == yaml.ScalarNode && n.ShortTag() == "!!merge" {
		l.report(l.line(n.Line), "", fault{"anchors, aliases, tags and merge keys are not supported", "write the values themselves"})
		return false
	}
	plain := true
	for _, child := range n.Content {
		plain = l.isPlain(child) && plain
	}
	return plain
}

// mapping reads the keys of a section; the section "" is the whole file.
func (l *loader) mapping(section string, n *yaml.Node) {
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, at := n.Content[i], l.line(n.Content[i].Line)
		name := strings.TrimPrefix(section+"."+key.Value, ".")
		first, twice := lines[name]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() != "!!str" || !looksLikeKey(name):
			l.report(at, section, fault{"unknown key, which is not shown because it may be a secret", seeExample})
			continue
		case twice:
			l.report(at, name, fault{fmt.Sprintf("set twice, first on line %d", first), "keep one"})
		case strings.Contains(key.Value, ".") || !slices.Contains(l.known(), name):
			l.unknownKey(at, name)
		default:
			l.entry(at, name, n.Content[i+1])
		}
		lines[name] = key.Line
	}
}

// unknownKey reports an unknown key. It never shows the value, which may be a secret under a
// misspelt name.
func (l *loader) unknownKey(at place, name string) {
	f := fault{"unknown key", seeExample}
	switch near := nearest(name, l.known()); near {
	case "":
	case name:
		section, key, _ := strings.Cut(name, ".")
		f.fix = fmt.Sprintf("write %s: on a line of its own below %s:, indented", key, section)
	case lastPart(name):
		f.fix = fmt.Sprintf("write %s: at the left margin, not below %s:", near, strings.TrimSuffix(name, "."+near))
	default:
		f.fix = "did you mean " + near + "?"
	}
	l.report(at, name, f)
}

// entry reads one known key: a section or a setting.
func (l *loader) entry(at place, name string, value *yaml.Node) {
	row := slices.IndexFunc(l.table, func(s setting) bool { return s.key == name })
	switch {
	case isNull(value): // counts as unset
	case row >= 0:
		l.value(at, l.table[row], value)
	case name == appsKey:
		l.apps(at, value)
	case value.Kind == yaml.MappingNode:
		l.mapping(name, value)
	default:
		l.report(at, name, fault{"this is a section", "write its keys on the lines below, indented"})
	}
}

// apps reads the list of apps. Each item is a section.
func (l *loader) apps(at place, n *yaml.Node) {
	switch {
	case n.Kind != yaml.SequenceNode:
		l.report(at, appsKey, fault{"not a list", "write one app after each dash: - name: main"})
		return
	case len(n.Content) > maxItems:
		l.report(at, appsKey, fault{fmt.Sprintf("has more than %d apps", maxItems), "run another sidecar for the rest"})
		return
	}
	l.config.Apps = make([]App, len(n.Content))
	for i, item := range n.Content {
		l.table = append(l.table, appSettings(i)...)
		at := l.line(item.Line)
		if item.Kind != yaml.MappingNode {
			l.report(at, appsKey, fault{"an item is not an app", "write name:, app_id: and client_secret_file: after the dash"})
			continue
		}
		l.places[appKey(i)] = at
		l.mapping(appKey(i), item)
	}
}

// value reads the text of a setting. It ignores the types of YAML, because some YAML parsers
// read 010 as 8.
func (l *loader) value(at place, s setting, n *yaml.Node) {
	items := []*yaml.Node{n}
	if s.kind == kindList && !(s.orText && n.Kind == yaml.ScalarNode) {
		if n.Kind != yaml.SequenceNode {
			l.report(at, s.key, fault{"not a list", "write [first, second], or one item per line after a dash"})
			return
		}
		items = n.Content
	}
	var values []string
	for _, item := range items {
		if !s.takes(item) {
			where := at
			if s.kind == kindList {
				where = l.line(item.Line)
			}
			l.report(where, s.key, fault{"one value belongs here, not a list or a section", "write it after the colon or the dash"})
			continue
		}
		values = append(values, item.Value)
	}
	if len(values) < len(items) {
		l.reportItems(at, s, items)
		return
	}
	if len(values) == 0 || n.Kind == yaml.ScalarNode && values[0] == "" {
		return // counts as unset
	}
	if s.orText && n.Kind == yaml.ScalarNode {
		values[0] = trimNewline(values[0]) // setOne does this for other texts
	}
	l.set(s, at, values)
	if s.isSecret() {
		fix := "use " + s.key + "_file or " + envName(s.key) + " instead"
		l.warn(at, s.key, fault{"a secret in the configuration file", fix})
	}
}

// takes reports whether a node is a single value, valid or not. An item of a list must not be null.
func (s setting) takes(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && !(s.kind == kindList && isNull(n))
}

// reportItems checks those items of a list that are single values, and reports their faults. It is
// for a list that is refused because other items, such as sections, are not single values.
func (l *loader) reportItems(at place, s setting, items []*yaml.Node) {
	for i, item := range items {
		if s.takes(item) {
			if f := s.checkItem(item.Value, i, len(items)); f != nil {
				l.report(at, s.key, *f)
			}
		}
	}
}
