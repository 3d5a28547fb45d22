package config_test

import "testing"

func TestAProblemInTheFileIsReportedWithItsLine(t *testing.T) {
	expect(t, []input{
		{name: "a section in a section", yaml: "upstream:\n  breaker:\n    failures: 3\n",
			want: []string{"igproxy.yaml:2: upstream.breaker: unknown key; write breaker: at the left margin, not below upstream:"}},
		{name: "an unknown key gets the nearest known key", yaml: "lisen: 127.0.0.1:1\n",
			want: []string{"igproxy.yaml:1: lisen: unknown key; did you mean listen?"}},
		{name: "a key in the wrong section gets its full name", yaml: "timeout: 3s\n",
			want: []string{"igproxy.yaml:1: timeout: unknown key; did you mean upstream.timeout?"}},
		{name: "a key of another section", yaml: "cache:\n  max_in_flight: 3\n",
			want: []string{"igproxy.yaml:2: cache.max_in_flight: unknown key; did you mean upstream.max_in_flight?"}},
		{name: "a dotted key gets advice to nest it", yaml: "upstream.timeout: 3s\n",
			want: []string{"igproxy.yaml:1: upstream.timeout: unknown key; write timeout: on a line of its own below upstream:, indented"}},
		{name: "a key that resembles no other gets a hint to the example file", yaml: "colour: red\n",
			want: []string{"igproxy.yaml:1: colour: unknown key; see config.example.yaml for all keys"}},
		{name: "a key that looks like a value is not shown", yaml: "upstream:\n  \"EAAx/very+secret\": 1\n",
			want: []string{"igproxy.yaml:2: upstream: unknown key, which is not shown because it may be a secret; see config.example.yaml for all keys"}},
		{name: "a key in capitals", yaml: "Listen: 127.0.0.1:1\n",
			want: []string{"igproxy.yaml:1: Listen: unknown key; did you mean listen?"}},
		{name: "a section as a value", yaml: "upstream: fast\n",
			want: []string{"igproxy.yaml:1: upstream: this is a section; write its keys on the lines below, indented"}},
		{name: "a section where a value or a list belongs", yaml: "listen:\n  host: 127.0.0.1\n",
			want: []string{"igproxy.yaml:1: listen: not a list; write [first, second], or one item per line after a dash"}},
		{name: "a list where a value belongs", yaml: "app_id: [127]\n",
			want: []string{"igproxy.yaml:1: app_id: one value belongs here, not a list or a section; write it after the colon or the dash"}},
		{name: "a value where a list belongs", yaml: "allowed_hosts: igproxy.internal\n",
			want: []string{"igproxy.yaml:1: allowed_hosts: not a list; write [first, second], or one item per line after a dash"}},
		{name: "a list in a list", yaml: "allowed_hosts: [[a]]\n",
			want: []string{"igproxy.yaml:1: allowed_hosts: one value belongs here, not a list or a section; write it after the colon or the dash"}},
		{name: "an empty item", yaml: "allowed_hosts: ['']\n",
			want: []string{"igproxy.yaml:1: allowed_hosts: an empty value; write a value, or remove the key"}},
		{name: "a key given twice", yaml: "listen: 127.0.0.1:1\nlog:\n  level: info\nlisten: 127.0.0.1:2\n",
			want: []string{"igproxy.yaml:4: listen: set twice, first on line 1; keep one"}},
		{name: "a section given twice", yaml: "log:\n  level: info\nlog:\n  format: json\n",
			want: []string{"igproxy.yaml:3: log: set twice, first on line 1; keep one"}},
		{name: "a tab as indentation", yaml: "log:\n\tlevel: info\n",
			want: []string{"igproxy.yaml:2: not valid YAML; check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8"}},
		{name: "an anchor", yaml: "listen: &a 127.0.0.1:1\n",
			want: []string{"igproxy.yaml:1: anchors, aliases, tags and merge keys are not supported; write the values themselves"}},
		{name: "an alias", yaml: "admin: &a\n  listen: 127.0.0.1:1\nlog: *a\n",
			want: []string{"igproxy.yaml:1: anchors, aliases, tags and merge keys are not supported; write the values themselves",
				"igproxy.yaml:3: anchors, aliases, tags and merge keys are not supported; write the values themselves"}},
		{name: "a tag", yaml: "listen: !!str 127.0.0.1:1\n",
			want: []string{"igproxy.yaml:1: anchors, aliases, tags and merge keys are not supported; write the values themselves"}},
		{name: "a merge key", yaml: "log:\n  <<: {level: info}\n",
			want: []string{"igproxy.yaml:2: anchors, aliases, tags and merge keys are not supported; write the values themselves"}},
		{name: "a second document", yaml: "listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n",
			want: []string{"igproxy.yaml:2: a second YAML document; keep one, and remove the --- line"}},
		{name: "a document that is a list", yaml: "- listen\n",
			want: []string{"igproxy.yaml:1: not a set of keys; write lines such as listen: 127.0.0.1:8080; see config.example.yaml"}},
		{name: "a document that is a word", yaml: "hello\n",
			want: []string{"igproxy.yaml:1: not a set of keys; write lines such as listen: 127.0.0.1:8080; see config.example.yaml"}},
		{name: "a key that is a number", yaml: "1: 2\n",
			want: []string{"igproxy.yaml:1: unknown key, which is not shown because it may be a secret; see config.example.yaml for all keys"}},
		{name: "a missing quotation mark", yaml: "listen: \"127.0.0.1:1\nlog:\n  level: info\n",
			want: []string{"igproxy.yaml:1: not valid YAML; check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8"}},
		{name: "a missing space after the colon", yaml: "listen:127.0.0.1:1\nlog:\n  level: info\n",
			want: []string{"igproxy.yaml:2: not valid YAML; check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8"}},
		{name: "a byte that is not text, whose line is unknown", yaml: "listen: 127.0.0.1:1\nlog: \x01\n",
			want: []string{"igproxy.yaml: not valid YAML; check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8"}},
	})
}

// What such a file contains is unknown, so a report of a missing secret would be a guess.
func TestAFileThatCannotBeParsedCausesNoSecondProblem(t *testing.T) {
	bare := func(name, yaml, problem string) input {
		return input{name: name, yaml: yaml, noSecret: true, env: []string{"IGPROXY_REDIS_URL=redis://127.0.0.1:1"}, want: []string{"igproxy.yaml:" + problem}}
	}
	expect(t, []input{
		bare("a missing quotation mark", "client_secret_file: ./secret\nlisten: \"127.0.0.1:1\n",
			"2: not valid YAML; check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8"),
		bare("a second document", "listen: 127.0.0.1:1\n---\nclient_secret_file: ./secret\n", "2: a second YAML document; keep one, and remove the --- line"),
		bare("a byte that is not text", "client_secret_file: ./secret\nlog: \x01\n", " not valid YAML; check the indentation (spaces, no tabs), quotation marks, spaces after colons, and that the file is UTF-8"),
		{name: "a file with a wrong value can be parsed, so a missing secret is reported too", yaml: "listen: nonsense\n", noSecret: true, want: []string{
			"igproxy.yaml:1: listen: \"nonsense\" is not an address; write host:port, [::1]:port or unix:/path",
			"client_secret: no client secret; set IGPROXY_CLIENT_SECRET_FILE (or client_secret_file) to the path of a file that holds it, or IGPROXY_CLIENT_SECRET to the secret itself"}},
	})
}
