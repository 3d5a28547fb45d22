package config

import (
	"regexp"
	"slices"
	"strings"
)

// envPrefix begins every variable of ours.
const envPrefix = "IGPROXY_"

// envName is the variable of a key. What has the prefix is a variable already.
func envName(key string) string {
	if strings.HasPrefix(key, envPrefix) {
		return key
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// environment reads IGPROXY_SECTION_KEY for section.key. An empty variable is unset.
func (l *loader) environment(environ []string) {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, envPrefix) {
			values[name] = value // the last one wins, as it does in a shell
		}
	}
	at := place{source: fromEnvironment}
	for _, s := range l.table {
		name := envName(s.key)
		switch value := values[name]; {
		case value == "":
		case s.kind == kindList:
			l.set(s, at, splitList(value))
		default:
			l.set(s, at, []string{value})
		}
		delete(values, name)
	}
	delete(values, envPrefix+"CONFIG") // the --config flag's own
	var unknown []string
	for name, value := range values {
		if value != "" && !injectedByPlatform(name, value) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		l.unknownVariable(at, name)
	}
}

func (l *loader) unknownVariable(at place, name string) {
	f := fault{"unknown variable, ignored", seeExample}
	if near := nearest(strings.TrimPrefix(name, envPrefix), l.known()); near != "" {
		f.fix = "did you mean " + envName(near) + "?"
	}
	if shownKey(name) == "" {
		f.what, name = "a variable of igproxy's with an unusual name, ignored", ""
	}
	l.warn(at, name, f)
}

// injectedName is what Kubernetes and Docker links add for a Service named igproxy, or
// igproxy-something.
var injectedName = regexp.MustCompile(`^IGPROXY_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// injectedByPlatform tells those variables. IGPROXY_PORT=8080 was written by a person who hoped for
// something: Kubernetes writes tcp://...
func injectedByPlatform(name, value string) bool {
	if !injectedName.MatchString(name) {
		return false
	}
	if strings.HasSuffix(name, "_PORT") && !strings.HasSuffix(name, "SERVICE_PORT") && !strings.Contains(name, "_PORT_") {
		return strings.Contains(value, "://")
	}
	return true
}

func splitList(text string) []string {
	items := strings.Split(text, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}
