package integration

// The documentation names only things that exist: the targets of its links, configuration keys,
// environment variables, metrics, commands, options, make targets, files and tests.

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// facts holds the names that exist, and that pages may therefore use.
type facts struct {
	keys     []string          // of the configuration
	commands []string          // of igproxy
	targets  []string          // of make
	options  map[string]string // the help text of each command, which has the command's options
	metrics  string            // the source text of package proxy, which defines the metrics
	tests    map[string]bool   // tests and fuzz targets
}

// variables lists names in pages that look like the environment variable of a key but belong to no
// key.
var variables = []string{"IGPROXY_CONFIG", "IGPROXY_A_B", "IGPROXY_", "IGPROXY_APPS_0_"}

func factsOf(t *testing.T) facts {
	t.Helper()
	f := facts{options: map[string]string{}, tests: testNames(t)}
	text, err := os.ReadFile("../docs/config.schema.json")
	must(t, err)
	var schema node
	must(t, json.Unmarshal(text, &schema))
	f.keys = schema.keys("")
	_, list, _ := command(t, nil, "--generate-bash-completion")
	for name := range strings.FieldsSeq(list) {
		_, help, _ := command(t, nil, "help", name)
		f.commands = append(f.commands, name)
		f.options[name] = help
	}
	makefile, err := os.ReadFile("../Makefile")
	must(t, err)
	for _, found := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		f.targets = append(f.targets, found[1])
	}
	sources, err := filepath.Glob("../proxy/*.go")
	must(t, err)
	for _, name := range sources {
		source, err := os.ReadFile(name)
		must(t, err)
		f.metrics += string(source)
	}
	if len(f.keys) < 50 || len(f.commands) < 8 || len(f.targets) < 8 {
		t.Fatalf("this test looked in the wrong place: found %d keys (want at least 50), the commands %v (want at least 8) and the make targets %v (want at least 8)", len(f.keys), f.commands, f.targets)
	}
	return f
}

// node is an object of the JSON Schema. Its properties are configuration keys.
type node struct {
	Properties map[string]node
}

func (n node) keys(prefix string) (all []string) {
	for name, below := range n.Properties {
		if all = append(all, prefix+name); len(below.Properties) > 0 {
			all = append(all, below.keys(prefix+name+".")...)
		}
	}
	return all
}

var (
	fence       = regexp.MustCompile("(?s)\n```[a-z]*\n.*?\n```")
	span        = regexp.MustCompile("`[^`\n]+`")
	comment     = regexp.MustCompile(`(^|\s)#.*`)
	link        = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading     = regexp.MustCompile(`(?m)^#+ (.*)$`)
	keyLike     = regexp.MustCompile(`^([a-z_]+)\.[a-z_.]+(: .*)?$`)
	fileLike    = regexp.MustCompile(`^(cmd|proxy|cache|breaker|integration|docs|tools|deploy)/[\w./*-]+$`)
	variable    = regexp.MustCompile(`\bIGPROXY_[A-Z0-9_]*`)
	metric      = regexp.MustCompile(`\bigproxy_[a-z_]+`)
	subcommand  = regexp.MustCompile(`(?:^|[^\w/.-])igproxy ([a-z]+)((?: [^|&;<>\n]*)?)`)
	makeTarget  = regexp.MustCompile(`(?:^|\s)make ([a-z-]+)`)
	option      = regexp.MustCompile(` (--[a-z-]+)`)
	testLike    = regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w*`)
	runLike     = regexp.MustCompile(`-run[= ]'?([A-Za-z]+)`)
	notCommands = regexp.MustCompile(`(SETUSER|named) igproxy|\bigproxy_`)
)

// code returns the code in a page: its inline code spans, and the lines of its code blocks without
// comments.
func code(page string) (spans, lines []string) {
	for _, block := range fence.FindAllString(page, -1) {
		lines = append(lines, strings.Split(block, "\n")[2:]...)
	}
	page = fence.ReplaceAllString(page, "")
	for line := range strings.Lines(page) {
		if strings.HasPrefix(line, "    ") {
			lines = append(lines, strings.TrimSpace(line))
			continue
		}
		for _, s := range span.FindAllString(line, -1) {
			spans = append(spans, strings.Trim(s, "`"))
		}
	}
	for i := range lines {
		lines[i] = comment.ReplaceAllString(lines[i], "")
	}
	return spans, lines
}

// slug returns the anchor of a heading.
func slug(title string) string {
	title = strings.ToLower(strings.TrimSpace(title))
	return strings.ReplaceAll(regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(title, ""), " ", "-")
}

// wrong checks the names that a page uses, and returns a message for each name that does not exist.
// The path of the page is relative to the root of the repository.
func (f facts) wrong(path, page string) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	spans, lines := code(page)
	f.wrongLinks(path, page, say)
	for _, s := range spans {
		if found := keyLike.FindStringSubmatch(s); found != nil && slices.Contains(f.keys, found[1]) {
			if key, _, _ := strings.Cut(s, ":"); !slices.Contains(f.keys, key) && filepath.Ext(key) != ".go" && !slices.Contains(hosts, key) {
				say("no key %s", key)
			}
		}
		if fileLike.MatchString(s) && !strings.Contains(s, ".Test") {
			if files, _ := filepath.Glob(filepath.Join("..", s)); len(files) == 0 {
				say("no file %s", s)
			}
		}
	}
	for _, name := range variable.FindAllString(page, -1) {
		if !slices.Contains(variables, name) && !slices.ContainsFunc(f.keys, func(key string) bool {
			return name == "IGPROXY_"+strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
		}) && !strings.HasPrefix(name, "IGPROXY_APPS_0_") {
			say("no variable %s", name)
		}
	}
	for _, name := range metric.FindAllString(page, -1) {
		bare := strings.TrimPrefix(name, "igproxy_")
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			bare = strings.TrimSuffix(bare, end)
		}
		if !strings.Contains(f.metrics, `"`+bare+`"`) && !strings.Contains(f.metrics, `"igproxy_`+bare+`"`) {
			say("no metric %s", name)
		}
	}
	for _, name := range testLike.FindAllString(page, -1) {
		if !f.tests[name] {
			say("no test %s", name)
		}
	}
	for _, s := range append(spans, lines...) {
		f.wrongCommands(s, say)
	}
	return all
}

// runs reports whether `go test -run part` would run at least one of the tests.
func runs(tests map[string]bool, part string) bool {
	for name := range tests {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// hosts lists host names that look like keys below redis.
var hosts = []string{"redis.internal"}

func (f facts) wrongCommands(text string, say func(string, ...any)) {
	for _, found := range makeTarget.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(f.targets, found[1]) {
			say("no make target %s", found[1])
		}
	}
	for _, found := range runLike.FindAllStringSubmatch(text, -1) {
		if found[1] != "X" && !runs(f.tests, found[1]) {
			say("no test is run by -run %s", found[1])
		}
	}
	if notCommands.MatchString(text) {
		return
	}
	for _, found := range subcommand.FindAllStringSubmatch(text, -1) {
		if !slices.Contains(f.commands, found[1]) {
			say("no command igproxy %s", found[1])
			continue
		}
		for _, o := range option.FindAllStringSubmatch(found[2], -1) {
			if !regexp.MustCompile(o[1] + `\b[^-]`).MatchString(f.options[found[1]]) {
				say("no option %s of igproxy %s", o[1], found[1])
			}
		}
	}
}

func (f facts) wrongLinks(path, page string, say func(string, ...any)) {
	for _, found := range link.FindAllStringSubmatch(page, -1) {
		target, anchor, _ := strings.Cut(found[1], "#")
		if strings.Contains(target, "://") {
			continue
		}
		to := path
		if target != "" {
			to = filepath.Join(filepath.Dir(path), target)
		}
		text, err := os.ReadFile(filepath.Join("..", to))
		if info, statErr := os.Stat(filepath.Join("..", to)); statErr == nil && info.IsDir() {
			continue
		}
		if err != nil {
			say("%s leads nowhere", found[1])
			continue
		}
		if anchor != "" && !slices.ContainsFunc(heading.FindAllStringSubmatch(string(text), -1), func(h []string) bool { return slug(h[1]) == anchor }) {
			say("%s has no heading #%s", to, anchor)
		}
	}
}

func TestPagesNameOnlyWhatExists(t *testing.T) {
	t.Parallel()
	f := factsOf(t)
	pages, err := filepath.Glob("../docs/*.md")
	must(t, err)
	pages = append(pages, "../README.md", "../SECURITY.md", "../integration/load/README.md")
	for _, name := range pages {
		text, err := os.ReadFile(name)
		must(t, err)
		for _, what := range f.wrong(filepath.Clean(strings.TrimPrefix(name, "../")), string(text)) {
			t.Errorf("%s: %s", name, what)
		}
	}
	checkMadeUpNamesAreReported(t, f)
}

// checkMadeUpNamesAreReported checks that the method wrong reports made-up names, and does not
// report correct names.
func checkMadeUpNamesAreReported(t *testing.T, f facts) {
	t.Helper()
	for page, want := range map[string]string{
		"Set `cache.tll`.\n":                                "no key cache.tll",
		"Set `upstream.time_out: 5s`.\n":                    "no key upstream.time_out",
		"See `proxy/nothing.go`.\n":                         "no file proxy/nothing.go",
		"Set IGPROXY_CACHE_TLL.\n":                          "no variable IGPROXY_CACHE_TLL",
		"Watch `igproxy_redis_upp`.\n":                      "no metric igproxy_redis_upp",
		"Type `igproxy srv`.\n":                             "no command igproxy srv",
		"Type:\n\n    igproxy check --onlin\n":              "no option --onlin of igproxy check",
		"Type:\n\n```sh\nexec igproxy mock --prot 1\n```\n": "no option --prot of igproxy mock",
		"Type `make lunch`.\n":                              "no make target lunch",
		"Proven by `TestNothingAtAll`.\n":                   "no test TestNothingAtAll",
		"`go test -run NothingAtAll ./proxy`\n":             "no test is run by -run NothingAtAll",
		"See [there](nowhere.md).\n":                        "nowhere.md leads nowhere",
		"See [there](errors.md#nothing).\n":                 "docs/errors.md has no heading #nothing",
	} {
		if got := f.wrong("docs/page.md", page); !slices.Contains(got, want) {
			t.Errorf("%q: got %q, want %q", page, got, want)
		}
	}
	const right = "Set `cache.ttl: 5m`, `redis.url`, IGPROXY_CACHE_TTL; `proxy/answer*.go`, `igproxy_requests_total`, `make test`, [x](errors.md#igproxys-own), " +
		"`TestNoLeaks`, `go test -run Leaks`.\n\n    ACL SETUSER igproxy on\n    igproxy check --online && igproxy serve # igproxy runs --now\n"
	if got := f.wrong("docs/page.md", right); len(got) > 0 {
		t.Errorf("correct names are reported as wrong: %q", got)
	}
}

// Every threat in SECURITY.md cites a test, SECURITY.md says why each library is used, and
// docs/README.md lists every page.
func TestThreatsCiteTestsAndIndexesAreComplete(t *testing.T) {
	t.Parallel()
	security, index, mod := read(t, "../SECURITY.md"), read(t, "../docs/README.md"), read(t, "../go.mod")
	threats := regexp.MustCompile(`(?m)^\| \d+ \|.*$`).FindAllString(security, -1)
	for _, row := range threats {
		if !testLike.MatchString(row) {
			t.Errorf("this threat cites no test: %s", row)
		}
	}
	// The pattern does not match indirect dependencies, because their lines end with a comment.
	libraries := regexp.MustCompile(`(?m)^\t(\S+) v\S+$`).FindAllStringSubmatch(mod, -1)
	for _, found := range libraries {
		if !strings.Contains(security, "\n| `"+found[1]+"` | ") {
			t.Errorf("SECURITY.md does not say why %s is used", found[1])
		}
	}
	for _, found := range regexp.MustCompile("(?m)^\\| `([^`]+/[^`]+)` \\| ").FindAllStringSubmatch(security, -1) {
		if !strings.Contains(mod, "\t"+found[1]+" v") {
			t.Errorf("SECURITY.md has %s, but go.mod does not", found[1])
		}
	}
	pages, err := filepath.Glob("../docs/*.md")
	must(t, err)
	for _, path := range pages {
		if name := filepath.Base(path); name != "README.md" && !strings.Contains(index, "\n| ["+name+"]("+name+") | ") {
			t.Errorf("docs/README.md does not list %s", name)
		}
	}
	if len(threats) < 20 || len(libraries) < 10 || len(pages) < 8 {
		t.Errorf("this test looked in the wrong place: found %d threats (want at least 20), %d libraries (want at least 10) and %d pages (want at least 8)", len(threats), len(libraries), len(pages))
	}
}

// testNames returns the tests and fuzz targets of the whole repository.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\([tf] \*testing\.[TF]\)`)
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, found := range declared.FindAllSubmatch(text, -1) {
			names[string(found[1])] = true
		}
		return err
	})
	must(t, err)
	return names
}
