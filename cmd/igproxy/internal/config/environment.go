package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// envPrefix begins the name of every variable that sets a key of the configuration.
const envPrefix = "IGPROXY_"

// envName returns the name of the variable that sets a key. If the key is already the name of a
// variable, envName returns it unchanged.
func envName(key string) string {
	if strings.HasPrefix(key, envPrefix) {
		return key
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// injected matches the variables that a Kubernetes Service or a linked Docker container adds if its
// name is igproxy or igproxy-something. IGPROXY_PORT=8080 does not match, because the value of an
// injected IGPROXY_PORT begins with a scheme, such as tcp://.
var injected = regexp.MustCompile(`^IGPROXY_([A-Z0-9_]+_)?` +
	`(SERVICE_HOST=|SERVICE_PORT(_[A-Z0-9_]+)?=|PORT=\w+://|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=)`)

// comma separates the items of a list in a variable. commaOrSpace does so for a setting with
// orText, whose list may be one text in the file too.
var (
	comma        = regexp.MustCompile(` *, *`)
	commaOrSpace = regexp.MustCompile(`[ ,]+`)
)

// environment reads IGPROXY_SECTION_KEY as section.key. An empty variable counts as unset.
func (l *loader) environment(environ []string) {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, envPrefix) && !injected.MatchString(entry) {
			values[name] = value // the last one wins, as in a shell
		}
	}
	delete(values, envPrefix+"CONFIG") // the --config flag reads it
	for _, s := range l.table {
		name := envName(s.key)
		if at := l.places[s.key]; values[name] != "" && l.isSet(s.key) {
			l.warn(inEnvironment, s.key, fault{"overrides " + at.where + ", which sets the same key", "remove one of the two"})
		}
		switch value := values[name]; {
		case value == "":
		case s.orText:
			l.set(s, inEnvironment, commaOrSpace.Split(strings.Trim(trimNewline(value), " ,"), -1))
		case s.kind == kindList:
			l.set(s, inEnvironment, comma.Split(strings.TrimSpace(value), -1))
		default:
			l.set(s, inEnvironment, []string{value})
		}
		delete(values, name)
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if values[name] != "" {
			l.unknownVariable(name)
		}
	}
}

func (l *loader) unknownVariable(name string) {
	if !looksLikeKey(name) {
		l.warn(inEnvironment, "", fault{"unknown IGPROXY_ variable, ignored; its name is not shown, because it may be a secret", seeExample})
		return
	}
	f := fault{"unknown variable, ignored", seeExample}
	if near := nearest(strings.TrimPrefix(name, envPrefix), l.known()); near != "" {
		f.fix = "did you mean " + envName(near) + "?"
	}
	l.warn(inEnvironment, name, f)
}
