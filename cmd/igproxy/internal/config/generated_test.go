package config

// config.example.yaml, docs/configuration.md and docs/config.schema.json are generated from the table of
// settings and the defaults. This file has what all three use besides the table.

import (
	"flag"
	"os"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write config.example.yaml, docs/configuration.md and docs/config.schema.json")

func TestGeneratedFilesAreUpToDate(t *testing.T) {
	for path, want := range map[string]string{examplePath: exampleYAML(t), referencePath: referenceMD(), schemaPath: schemaJSON(t)} {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s is not up to date (%v); run: go test ./cmd/igproxy/internal/config -run TestGenerated -update", path, err)
		}
	}
}

// sectionDocs introduce each section.
var sectionDocs = map[string]string{
	"":            "The sidecar itself.",
	"auth":        "Who is answered. Unless a key here says otherwise, that is all of this machine; a listener that other machines reach refuses to start until bearer_file, client_ca or none is set.",
	"tls":         "TLS for apps. Without it igproxy speaks plain HTTP.",
	"admin":       "For operators and orchestrators. It needs no secret and shows none; keep it where only they reach it.",
	"upstream":    "Instagram, and how patient to be with it.",
	"threads":     "Threads has the same calls at the same paths, with an app id and a secret of its own.",
	"refresh":     "GET /refresh_access_token.",
	"code":        "POST /oauth/access_token: what the login brings is exchanged here, without a secret in the app.",
	"passthrough": "Every other call of an app goes to Instagram as it came, so that an app has one base URL.",
	"cache":       "What is remembered, and for how long.",
	"redis":       "A second tier that several sidecars share and that outlives a restart. Values are sealed. igproxy never needs Redis to answer or to start.",
	"coalesce":    "How the sidecars on one Redis share one exchange. Without redis.mode, exchanges are joined within this process only.",
	"breaker":     "When Instagram fails, it is left alone for a while: cold tokens get a quick 503, known ones are still served.",
	"server":      "The bounds of what apps may ask of the sidecar.",
	"log":         "One line a request, on standard error, without secrets and tokens.",
}

// appsDoc is what is to be known of the list of apps, which has rows of its own (appSettings).
const appsDoc = "Several apps in one sidecar, in place of app_id, client_secret, client_secret_file and redirect_uris. A call belongs to the app of its path, as in /apps/shop/..., or of its client_id, or of its Host. Nothing crosses from one to the other."

// sectionOf cuts a key into its section, empty for the file's own keys, and its name there.
func (s setting) sectionOf() (section, name string) {
	section, name, nested := strings.Cut(s.key, ".")
	if !nested {
		return "", s.key
	}
	return section, name
}

// spanSentence is the range as a sentence of its own. Texts and lists have none.
func (s setting) spanSentence() string {
	rangeText := s.rangeText()
	if s.kind == kindWord {
		rangeText = "one of " + rangeText
	}
	return strings.ToUpper(rangeText[:1]) + rangeText[1:] + "."
}

// defaultText is the default of a setting as YAML has it; empty: it has none.
func defaultText(s setting, c *Config) string {
	text := s.text(c)
	if s.kind == kindText && digits.MatchString(text) { // a mode: other readers of YAML would make a number of it
		return strconv.Quote(text)
	}
	return text
}
