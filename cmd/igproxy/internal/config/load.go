// Package config has the table of settings. It loads a configuration from a file and the
// environment, reports all problems at once, and determines what a reload changes.
package config

// Load reads the file at path (unless path is empty), the environment, which overrides the file,
// and all files that the configuration names. It returns all problems, sorted by place. If one of
// them is an error and not a warning, use only the values of keys without a problem.
func Load(path string, environ []string) (Config, []Problem) {
	l := newLoader(Default())
	readable := path == "" || l.readFile(path)
	l.environment(environ)
	if readable { // a key that seems to be missing may be in the part of a file that could not be read
		l.validate()
	}
	l.openFiles()
	l.config.digestFiles()
	l.config.origins = l.origins()
	return l.config, l.sorted()
}

// loader collects values and problems.
type loader struct {
	config   Config
	table    []setting
	file     string           // the path of the configuration file, as problems show it
	places   map[string]place // of each key that is set, validly or not
	bad      map[string]bool  // keys whose last value was refused
	problems []Problem
}

func newLoader(c Config) *loader {
	return &loader{config: c, table: settings(), places: map[string]place{}, bad: map[string]bool{}}
}

func (l *loader) report(at place, key string, f fault) {
	l.problems = append(l.problems, Problem{Where: at.where, Key: key, What: f.what, Fix: f.fix, order: at.order})
}

func (l *loader) warn(at place, key string, f fault) {
	l.report(at, key, f)
	l.problems[len(l.problems)-1].Warning = true
}

// set sets a key to its values. If they are refused, the key keeps its previous value.
func (l *loader) set(s setting, at place, values []string) {
	l.places[s.key] = at
	faults := s.set(&l.config, values)
	l.bad[s.key] = len(faults) > 0
	for _, f := range faults {
		l.report(at, s.key, f)
	}
}

// origins returns where each key that is set comes from: FILE:LINE, the name of a variable, or, for
// a secret in its own file, the key that names the file.
func (l *loader) origins() map[string]string {
	from := map[string]string{}
	for _, s := range l.table {
		switch at := l.places[s.key]; {
		case at == inEnvironment:
			from[s.key] = envName(s.key)
		case at != place{}:
			from[s.key] = at.where
		case s.isSecret() && l.isSet(s.key+"_file"):
			from[s.key] = s.key + "_file"
		}
	}
	return from
}

// isSet reports whether a key is set, validly or not.
func (l *loader) isSet(key string) bool { return l.places[key] != place{} }

// place returns the place of the first of these keys that is set, or byDefault if none is set.
func (l *loader) place(keys ...string) place {
	for _, key := range keys {
		if l.isSet(key) {
			return l.places[key]
		}
	}
	return byDefault
}
