package config

// docs/config.schema.json is generated from the table of settings, for editors. With it, an editor
// shows common mistakes as they are typed: a misspelt key, a duration without a unit, a value that
// is not allowed. Other mistakes are found only by igproxy check. The schema accepts nearly
// everything that igproxy accepts. It refuses most texts that end with a newline, and most unquoted
// texts that YAML reads as another type, such as a number.

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

const schemaPath = "../../../../docs/config.schema.json"

// schemaPatterns are the patterns of values and list items that are written as text. The index is
// the end of a setting's key, or "kind:" and its kind. Each pattern must accept what igproxy
// accepts for the setting, except for rare forms, such as -0s or a newline at the end.
var schemaPatterns = map[string]string{
	"listen":                       `unix:/.*[^/]|.*:[0-9]+`,
	"allowed_hosts":                `\[?[A-Za-z0-9_.:-]+(%.+)?\]?`,
	"hosts":                        `\[?[A-Za-z0-9_.:-]+(%.+)?\]?`,
	"app_id":                       `[0-9]{1,32}`,
	"client_secret":                `\S{8,}\n?`,
	"redirect_uris":                `[A-Za-z][A-Za-z0-9+.-]*:[^# "<>]+`,
	"threads.url":                  `https?://[^?#]+`,
	"facebook.url":                 `https?://[^?#]+`,
	"upstream.url":                 `https?://[^?#]+`,
	"upstream.login_url":           `https?://[^?#]+`,
	"redis.url":                    `(rediss?://|unix:/)[^#]+`,
	"redis.addrs":                  `.+:[0-9]+`,
	"uids":                         `0|[1-9][0-9]{0,9}`,
	"socket_mode":                  `0[0-7]{3}`,
	"master_name":                  `[!-~]{1,128}`,
	"redis.password":               `\S+\n?`,
	"tls_server_name":              `\[?[A-Za-z0-9_.:-]+(%.+)?\]?`,
	"redis.username":               `[!-~]{1,128}`,
	"sentinel_username":            `[!-~]{1,128}`,
	"prefix":                       `[A-Za-z0-9:_.-]{1,64}`,
	appKey(0) + ".name":            `[a-z][a-z0-9_-]{0,31}`,
	"kind:" + string(kindDuration): `\+?0|\+?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+`,
	"kind:" + string(kindSize):     `[1-9][0-9]*(\s*[KM]iB)?`,
	"kind:" + string(kindCount):    `0|[1-9][0-9]*`,
	"kind:" + string(kindRatio):    `\+?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?`,
	"kind:" + string(kindSwitch):   `true|false`,
}

// patternOf returns the pattern of a value or list item that is written as text, or "" if the
// setting has none. An empty value counts as unset, so the pattern accepts it; an empty item is
// refused.
func patternOf(s setting) string {
	form, ok := schemaPatterns["kind:"+string(s.kind)]
	for end, pattern := range schemaPatterns {
		if s.key == end || strings.HasSuffix(s.key, "."+end) {
			form, ok = pattern, true
		}
	}
	switch {
	case s.words != nil:
		form = strings.Join(s.words, "|")
	case !ok:
		return ""
	}
	if s.kind == kindList {
		return "^(" + form + ")$"
	}
	return "^(|" + form + ")$"
}

type object = map[string]any

// hasNumbers reports whether the values of a setting are text for igproxy and numbers for a YAML
// parser: app IDs and UIDs.
func hasNumbers(s setting) bool {
	return strings.HasSuffix(s.key, "app_id") || strings.HasSuffix(s.key, ".uids")
}

// schemaOf returns the schema of one setting.
func schemaOf(s setting) object {
	o := object{"description": s.doc}
	if s.kind != kindText && s.kind != kindList {
		o["description"] = s.doc + "\n" + s.spanSentence()
	}
	text := object{"type": "string", "maxLength": maxValue}
	if pattern := patternOf(s); pattern != "" {
		text["pattern"] = pattern
	}
	if hasNumbers(s) {
		text["type"] = []string{"string", "integer"}
	}
	number := object{"type": "integer", "minimum": s.low, "maximum": s.high}
	switch s.kind {
	case kindList:
		one := maps.Clone(text)
		text["minLength"] = 1
		if s.orText {
			one["pattern"] = strings.Replace(text["pattern"].(string), "^(", "^(|", 1) // an empty text counts as unset
			o["anyOf"] = []any{one, object{"type": "array", "items": text, "maxItems": maxItems}, object{"type": "null"}}
			break
		}
		o["type"], o["items"], o["maxItems"] = []string{"array", "null"}, text, maxItems
	case kindWord:
		o["enum"] = append([]any{nil, ""}, anys(s.words)...)
	case kindSwitch:
		o["enum"] = []any{true, false, "true", "false", "", nil}
	case kindDuration:
		o["anyOf"] = []any{text, object{"type": "null"}}
		if s.low == 0 {
			o["anyOf"] = append(o["anyOf"].([]any), object{"const": 0})
		}
	case kindSize, kindCount:
		o["anyOf"] = []any{number, text, object{"type": "null"}}
	case kindRatio:
		o["anyOf"] = []any{object{"type": "number", "exclusiveMinimum": s.low, "maximum": s.high}, text, object{"type": "null"}}
	default:
		maps.Copy(o, text)
		if kinds, several := text["type"].([]string); several {
			o["type"] = append(kinds, "null")
		} else {
			o["type"] = []string{"string", "null"}
		}
	}
	if value := defaultText(s); value != "" {
		o["default"] = parsed(value)
	} else if !s.isSecret() {
		o["examples"] = []any{parsed(s.example)}
	}
	return o
}

func anys(words []string) (all []any) {
	for _, w := range words {
		all = append(all, w)
	}
	return all
}

// parsed returns a value as a YAML parser reads it.
func parsed(text string) (v any) {
	if err := yaml.Load([]byte(text), &v); err != nil {
		panic(err)
	}
	return v
}

// schemaJSON returns the text of docs/config.schema.json.
func schemaJSON(t *testing.T) string {
	root := object{}
	section := func(in object, key, doc string) object {
		if in[key] == nil {
			in[key] = object{"type": []string{"object", "null"}, "description": doc, "additionalProperties": false, "properties": object{}}
		}
		return in[key].(object)["properties"].(object)
	}
	for _, s := range settings() {
		in := root
		parent, key := s.sectionOf()
		if parent != "" {
			in = section(root, parent, sectionDocs[parent])
		}
		in[key] = schemaOf(s)
	}
	app := object{}
	for _, s := range appSettings(0) {
		app[strings.TrimPrefix(s.key, appKey(0)+".")] = schemaOf(s)
	}
	root[appsKey] = object{"type": []string{"array", "null"}, "description": appsDoc, "maxItems": maxItems,
		"items": object{"type": "object", "additionalProperties": false, "required": []string{"name", "app_id"}, "properties": app}}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(object{"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "The configuration of igproxy",
		"description": "Generated from the table of settings that igproxy itself uses. Durations have a unit (250ms, 1h30m), sizes may have one (64KiB).",
		"type":        []string{"object", "null"}, "additionalProperties": false, "properties": root}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
