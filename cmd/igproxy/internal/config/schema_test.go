package config

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// compiled returns the schema, compiled by an independent validator.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// schemaRefuses validates YAML as an editor does, and returns why the schema refuses it.
func schemaRefuses(schema *jsonschema.Schema, text string) error {
	var v any
	if err := yaml.Load([]byte(text), &v); err != nil {
		return err
	}
	return schema.Validate(v)
}

// igproxyRefuses returns the errors that igproxy finds in single keys. It leaves out warnings, and
// contradictions between keys.
func igproxyRefuses(t *testing.T, text string) []Problem {
	t.Helper()
	var documents []yaml.Node
	if err := yaml.Load([]byte(text), &documents, yaml.WithAllDocuments()); err != nil {
		t.Fatal(err)
	}
	l := newLoader(Default())
	l.mapping("", documents[0].Content[0])
	return slices.DeleteFunc(l.problems, func(p Problem) bool { return p.Warning })
}

// inYAML returns a document that sets a key. If it is a key of an app, the document lists one app,
// with its name and ID.
func inYAML(key, value string) string {
	if app, ok := strings.CutPrefix(key, appKey(0)+"."); ok {
		text := "apps:\n  - name: shop\n    app_id: \"1\"\n"
		if app == "name" || app == "app_id" { // the new value turns the old one into a comment
			text = strings.ReplaceAll(text, app+": ", "hosts: []\n    "+app+": "+value+" #")
			return strings.Replace(text, "- hosts: []\n    ", "- ", 1)
		}
		return text + "    " + app + ": " + value + "\n"
	}
	section, key, nested := strings.Cut(key, ".")
	if nested {
		return section + ":\n  " + key + ": " + value + "\n"
	}
	return section + ": " + value + "\n"
}

// schemaValues are values of many forms. Most are valid for some keys and invalid for others.
var schemaValues = []string{
	"", "~", "0", "1", "5", "10", "128", "1000", "100000", "1000000000", "-1", "010", "1.5", "0.5", "0.0", "1e3", ".5",
	"true", "false", "yes", "on", "True", "10s", "1m30s", "1.5s", "250ms", ".5s", "1h", "100h", "10 s", "10sec", "1d", "+5s", "-5s", "0s",
	"64KiB", "64 KiB", "16MiB", "64kb", "1GiB", "65536", "0660", "0999", "660", "127.0.0.1:8080", `"[::1]:8080"`, `":8080"`, "8080",
	"localhost:http", "unix:/run/igproxy.sock", "unix:run/", "igproxy.internal", "fe80::1%eth0", "[::1]", "a b", `"a b"`, `"a\nb"`,
	"https://graph.instagram.com", "http://127.0.0.1:8081/", "ftp://x", "https://x/?a=b", "https://app.example/callback", "app:callback",
	"redis://redis:6379/0", "rediss://u:p@redis:6379/0", "unix:///run/redis.sock", "http://redis:6379", "redis:6379", "single", "cluster", "Single",
	"debug", "info", "json", "verbose", "instagram", "threads", "shop", "Shop", "17841400000000002", `"17841400000000002"`, "[]", "{}", "[a, b]",
	"[1000, 1001]", `["1000"]`, "[-1]", "[redis-1:6379, redis-2:6379]", "[https://app.example/callback]", `[""]`, "[~]", "[[a]]", "{a: b}", "/run/secrets/x",
	"an-app-secret-of-no-app", "short", strings.Repeat("a", maxValue), strings.Repeat("a", maxValue+1),
}

// wantsQuotes reports whether the schema demands quotation marks around the value of a text
// setting, because a YAML parser would read the value as another type, such as a number. igproxy
// reads every value as text. For app IDs and UIDs, the schema allows numbers.
func wantsQuotes(s setting, form string) bool {
	if s.kind != kindText && s.kind != kindList || hasNumbers(s) {
		return false
	}
	values, isList := parsed(form).([]any)
	if !isList {
		values = []any{parsed(form)}
	}
	return slices.ContainsFunc(values, func(v any) bool { _, isText := v.(string); return v != nil && !isText })
}

func TestTheSchemaAcceptsWhatIgproxyAccepts(t *testing.T) {
	schema := compiled(t)
	agreed, missed := 0, 0
	for _, s := range append(settings(), appSettings(0)...) {
		for _, value := range schemaValues {
			forms := []string{value}
			if len(value) < maxValue && !strings.ContainsAny(value, `"[{~\`) {
				forms = append(forms, `"`+value+`"`)
			}
			for _, form := range forms {
				text := inYAML(s.key, form)
				refusal, problems := schemaRefuses(schema, text), igproxyRefuses(t, text)
				switch {
				case refusal != nil && len(problems) == 0 && !wantsQuotes(s, form):
					t.Errorf("the schema refuses a text that igproxy accepts: %q: %v", text, refusal)
				case refusal == nil && len(problems) > 0:
					missed++
				default:
					agreed++
				}
			}
		}
	}
	if agreed < 15*missed {
		t.Errorf("the schema misses %d mistakes and agrees with igproxy %d times, want it to agree at least 15 times as often", missed, agreed)
	}
}

func TestTheSchemaFindsCommonMistakes(t *testing.T) {
	schema := compiled(t)
	for _, text := range []string{
		"lisen: 127.0.0.1:8080\n", "upstream:\n  time_out: 10s\n", "listen: 8080\n", "upstream:\n  timeout: 10\n", "upstream:\n  timeout: 10 seconds\n",
		"cache:\n  max_bytes: 0\n", "cache:\n  max_bytes: lots\n", "cache:\n  max_entries: 100\n", "breaker:\n  ratio: 1.5\n", "breaker:\n  ratio: 0\n", "log:\n  level: verbose\n",
		"passthrough:\n  enabled: yes please\n", "upstream:\n  max_response_bytes: 64KB\n", "upstream:\n  max_response_bytes: 17000000\n", "upstream:\n  url: graph.instagram.com\n",
		"redis:\n  mode: standalone\n", "redis:\n  addrs: redis:6379\n", "redis:\n  url: http://redis:6379\n", "app_id: abc\n", "upstream: https://graph.instagram.com\n",
		"server:\n  socket_mode: \"660\"\n", "apps:\n  - name: shop\n", "apps:\n  - name: Shop!\n    app_id: 1\n", "apps:\n  shop:\n    app_id: 1\n", "- listen\n", "upstream.timeout: 10s\n",
	} {
		if schemaRefuses(schema, text) == nil {
			t.Errorf("the schema accepts a mistake: %q", text)
		}
	}
}

// configKeys returns the top-level keys of a configuration. A YAML file without any of them does
// not count as a configuration.
func configKeys() []string {
	keys := []string{appsKey}
	for _, s := range settings() {
		section, _, _ := strings.Cut(s.key, ".")
		keys = append(keys, section)
	}
	return keys
}

var yamlBlock = regexp.MustCompile("(?s)\n *```ya?ml\n(.*?)\n *```")

func TestEveryConfigurationInTheRepositoryFitsTheSchema(t *testing.T) {
	schema, keys, found := compiled(t), configKeys(), 0
	look := func(name, text string) {
		var v map[string]any
		if yaml.Load([]byte(text), &v) != nil || !slices.ContainsFunc(keys, func(k string) bool { _, ok := v[k]; return ok }) {
			return
		}
		found++
		if err := schemaRefuses(schema, text); err != nil {
			t.Errorf("%s: the schema refuses the configuration: %v", name, err)
		}
	}
	for _, root := range []string{examplePath, "../../../../README.md", "../../../../docs", "../../../../deploy"} {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if os.IsNotExist(err) || err == nil && d.IsDir() {
				return nil
			}
			text, err := os.ReadFile(path)
			switch filepath.Ext(path) {
			case ".yaml", ".yml":
				look(path, string(text))
			case ".md":
				for i, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
					look(fmt.Sprintf("%s, block %d", path, i+1), block[1])
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("no configuration was found, not even the example")
	}
}
