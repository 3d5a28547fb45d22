package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/igproxy/igproxy/proxy"
)

const (
	examplePath   = "../../../../config.example.yaml"
	exampleSecret = "an-app-secret-of-no-app"
	exampleHeader = `# yaml-language-server: $schema=docs/config.schema.json
#
# All keys of igproxy's configuration, with their defaults.
#
#   igproxy check --config igproxy.yaml    reports all problems at once
#   igproxy serve --config igproxy.yaml    runs the sidecar
#
# Only the client secret is required, and it is better kept out of this file:
#
#   export IGPROXY_CLIENT_SECRET_FILE=/run/secrets/instagram
#
# Copy only the lines that you change. A key without a default is commented out
# and shows an example. An unknown key is an error, so that misspellings are found.
#
# Environment variables override this file: IGPROXY_UPSTREAM_TIMEOUT sets
# upstream.timeout. In a variable, a list is written as a,b,c. An empty variable
# counts as unset.
#
# Durations have a unit: 250ms, 10s, 5m, 1h30m. Sizes: 65536 (bytes), 64KiB, 1MiB.
`
)

// exampleApps ends the file, below appsDoc. The table of settings has no rows for the list of apps.
const exampleApps = `# apps:
#   - name: shop                # in the path, and in metrics
#     app_id: "17841400000000004"
#     client_secret_file: /run/secrets/shop
#     redirect_uris: [https://shop.example/callback]
#     hosts: [shop.igproxy.internal]
#   - name: club
#     service: threads          # instagram (the default), threads or facebook
#     app_id: "17841400000000005"
#     client_secret_file: /run/secrets/club
`

// exampleYAML returns the text of config.example.yaml.
func exampleYAML(t *testing.T) string {
	var b strings.Builder
	b.WriteString(exampleHeader)
	section := "none"
	for _, s := range settings() {
		parent, key := s.sectionOf()
		nested := parent != ""
		indent := strings.Repeat(" ", min(2*len(parent), 2))
		if parent != section {
			section = parent
			if sectionDocs[section] == "" {
				t.Fatalf("sectionDocs has no sentence for %q", section)
			}
			fmt.Fprintf(&b, "\n# %s\n", strings.Repeat("-", 78))
			comment(&b, "", sectionDocs[section])
			if section != "" {
				fmt.Fprintf(&b, "%s:\n", section)
			}
		}
		if nested && !strings.HasSuffix(b.String(), section+":\n") || !nested {
			b.WriteString("\n")
		}
		comment(&b, indent, s.doc)
		if s.kind != kindText && s.kind != kindList {
			comment(&b, indent, s.spanSentence())
		}
		if value := defaultText(s); value != "" {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, key, value)
		} else {
			fmt.Fprintf(&b, "%s# %s: %s\n", indent, key, s.example)
		}
	}
	fmt.Fprintf(&b, "\n# %s\n", strings.Repeat("-", 78))
	comment(&b, "", appsDoc)
	b.WriteString(exampleApps)
	return b.String()
}

func comment(b *strings.Builder, indent, text string) {
	for _, line := range wrap(text, 78-len(indent)) {
		fmt.Fprintf(b, "%s# %s\n", indent, line)
	}
}

// wrap breaks a text at its spaces into lines of at most width characters. A longer word gets its
// own line.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func TestTheExampleHasTheDefaults(t *testing.T) {
	got, problems := Load(examplePath, []string{"IGPROXY_CLIENT_SECRET=" + exampleSecret})
	if len(problems) > 0 {
		t.Errorf("problems: got %v, want no problem", problems)
	}
	want := Default()
	want.ClientSecret = proxy.NewSecret(exampleSecret)
	if secret := got.ClientSecret.Reveal(); secret != exampleSecret {
		t.Errorf("client secret: got %q, want %q from the environment", secret, exampleSecret)
	}
	got.ClientSecret, got.origins = want.ClientSecret, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got the configuration %+v, want %+v", got, want)
	}
}

// Operators uncomment an example and change it, so the example itself must be valid.
func TestExamplesAreValidWhenUncommented(t *testing.T) {
	for _, s := range settings() {
		if value := defaultText(s); (value == "") != (s.example != "") {
			t.Errorf("%s: default %q, example %q; want exactly one of the two", s.key, value, s.example)
		}
		// The example of a secret is not a value: it says that the secret does not belong in the
		// file.
		if s.example == "" || s.isSecret() {
			continue
		}
		section, key, nested := strings.Cut(s.key, ".")
		text := key + ": " + s.example + "\n"
		if nested {
			text = section + ":\n  " + text
		} else {
			text = s.key + ": " + s.example + "\n"
		}
		path := filepath.Join(t.TempDir(), "igproxy.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		l := newLoader(Default())
		l.readFile(path)
		if len(l.problems) > 0 || !l.isSet(s.key) {
			t.Errorf("%q: key is set: got %v, want true; problems: got %v, want no problem", text, l.isSet(s.key), l.sorted())
		}
	}
}

func TestEveryFieldOfConfigHasOneRowInTheTableOfSettings(t *testing.T) {
	var keys []string
	var c Config
	fields := map[any]string{}
	for _, s := range settings() {
		if s.value != "" && s.set(&c, []string{s.value}) != nil {
			t.Errorf("%s does not allow its own default", s.key)
		}
		if slices.Contains(keys, s.key) {
			t.Errorf("%s is in the table twice", s.key)
		}
		keys = append(keys, s.key)
		field := s.field(&c).Addr().Interface()
		if other, twice := fields[field]; twice {
			t.Errorf("%s and %s share a field", s.key, other)
		}
		fields[field] = s.key
	}
	var missing func(v reflect.Value, name string)
	missing = func(v reflect.Value, name string) {
		// The rows of Config.Apps are in appSettings. The other fields listed here are not
		// settings: they hold contents of files, their digests, and the origins of values.
		if slices.Contains([]string{"Config.Apps",
			"Config.Cache.Key", "Config.origins", "Config.digests", "Config.credentials.PreviousSecret", "Config.Threads.credentials.PreviousSecret",
			"Config.credentials.WebhookSecrets", "Config.Threads.credentials.WebhookSecrets",
			"Config.Facebook.credentials.PreviousSecret", "Config.Facebook.credentials.WebhookSecrets"}, name) {
			return
		}
		if v.Kind() != reflect.Struct || v.Type() == reflect.TypeFor[proxy.Secret]() {
			if fields[v.Addr().Interface()] == "" {
				t.Errorf("%s has no row in the table", name)
			}
			return
		}
		for i := range v.NumField() {
			missing(v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	}
	missing(reflect.ValueOf(&c).Elem(), "Config")
}
