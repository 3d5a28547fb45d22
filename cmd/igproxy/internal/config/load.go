// Package config reads what the operator wrote: a table of settings, strict loading from a file and
// the environment with all problems at once, and what a reload changes.
package config

// Load reads the file (none if path is empty), then the environment, which wins, then the files
// they name, and checks everything. It returns all problems at once, sorted by place; the Config is
// of use if none of them is an error. For healthcheck, a key without a problem has its value even
// if others have one.
func Load(path string, environ []string) (Config, []Problem) {
	l := &loader{config: Default(), table: settings(), places: map[string]place{}, bad: map[string]bool{}}
	whole := path == "" || l.file(path)
	l.environment(environ)
	if whole { // else what seems to be missing, or to contradict, may be in the part that could not be read
		l.validate()
	}
	l.openFiles()
	l.config.digestFiles()
	return l.config, sortFindings(l.findings)
}

// loader collects values and problems.
type loader struct {
	config   Config
	table    []setting
	places   map[string]place // of each key that was set
	bad      map[string]bool  // keys whose last value was refused
	findings []finding
}

func (l *loader) report(at place, key string, f fault) {
	l.findings = append(l.findings, finding{at, Problem{Where: at.String(), Key: key, What: f.what, Fix: f.fix}})
}

func (l *loader) warn(at place, key string, f fault) {
	l.report(at, key, f)
	l.findings[len(l.findings)-1].Warning = true
}

// set gives a key its values. One that is refused leaves the default.
func (l *loader) set(s setting, at place, values []string) {
	l.places[s.key] = at
	f := s.set(&l.config, values)
	l.bad[s.key] = f != nil
	if f != nil {
		l.report(at, s.key, *f)
	}
}

// place of a key; byDefault if it was not set.
func (l *loader) place(key string) place {
	if at, ok := l.places[key]; ok {
		return at
	}
	return place{source: fromDefaults}
}
