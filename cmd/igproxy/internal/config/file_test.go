package config_test

import "testing"

func TestWhatAFileMustNotHoldIsToldWithItsLine(t *testing.T) {
	expect(t, []input{
		{name: "an unknown key gets the nearest one", yaml: "lisen: 127.0.0.1:1\n",
			says: []string{"igproxy.yaml:1: lisen: unknown key; did you mean listen?"}},
		{name: "a key in the wrong section gets its full name", yaml: "timeout: 3s\n",
			says: []string{"igproxy.yaml:1: timeout: unknown key; did you mean upstream.timeout?"}},
		{name: "a key in another section's place", yaml: "cache:\n  max_in_flight: 3\n",
			says: []string{"igproxy.yaml:2: cache.max_in_flight: unknown key; did you mean upstream.max_in_flight?"}},
		{name: "a dotted key is told how to nest", yaml: "upstream.timeout: 3s\n",
			says: []string{"igproxy.yaml:1: upstream.timeout: unknown key; write timeout: on a line of its own below upstream:, indented"}},
		{name: "a key like none gets the example file", yaml: "colour: red\n",
			says: []string{"igproxy.yaml:1: colour: unknown key; see config.example.yaml for the keys there are"}},
		{name: "a key that looks like a value is not shown", yaml: "upstream:\n  \"EAAx/very+secret\": 1\n",
			says: []string{"igproxy.yaml:2: upstream: unknown key, not shown because it does not look like one; see config.example.yaml for the keys there are"}},
		{name: "a key in capitals", yaml: "Listen: 127.0.0.1:1\n",
			says: []string{"igproxy.yaml:1: Listen: unknown key; did you mean listen?"}},
		{name: "a section as a value", yaml: "upstream: fast\n",
			says: []string{"igproxy.yaml:1: upstream: this is a section; write its keys on the lines below, indented"}},
		{name: "a section where a value belongs", yaml: "listen:\n  host: 127.0.0.1\n",
			says: []string{"igproxy.yaml:1: listen: one value belongs here, not a list or a section; write it after the colon"}},
		{name: "a list where a value belongs", yaml: "listen: [127.0.0.1:1]\n",
			says: []string{"igproxy.yaml:1: listen: one value belongs here, not a list or a section; write it after the colon"}},
		{name: "a value where a list belongs", yaml: "allowed_hosts: igproxy.internal\n",
			says: []string{"igproxy.yaml:1: allowed_hosts: not a list; write [first, second], or one item a line after a dash"}},
		{name: "a list in a list", yaml: "allowed_hosts: [[a]]\n",
			says: []string{"igproxy.yaml:1: allowed_hosts: an item of this list is not a plain value; write allowed_hosts as [first, second]"}},
		{name: "an empty item", yaml: "allowed_hosts: ['']\n",
			says: []string{"igproxy.yaml:1: allowed_hosts: an empty item in the list; remove it"}},
		{name: "a key given twice", yaml: "listen: 127.0.0.1:1\nlog:\n  level: info\nlisten: 127.0.0.1:2\n",
			says: []string{"igproxy.yaml:4: listen: given twice, first on line 1; keep one"}},
		{name: "a section given twice", yaml: "log:\n  level: info\nlog:\n  format: json\n",
			says: []string{"igproxy.yaml:3: log: given twice, first on line 1; keep one"}},
		{name: "a tab as indentation", yaml: "log:\n\tlevel: info\n",
			says: []string{"igproxy.yaml:2: not valid YAML here; the line is indented with a tab; use blanks"}},
		{name: "an anchor", yaml: "listen: &a 127.0.0.1:1\n",
			says: []string{"igproxy.yaml:1: listen: YAML anchors and aliases are not read here; write the value itself"}},
		{name: "an alias", yaml: "admin: &a\n  listen: 127.0.0.1:1\nlog: *a\n",
			says: []string{"igproxy.yaml:1: admin: YAML anchors and aliases are not read here; write the value itself",
				"igproxy.yaml:3: log: YAML anchors and aliases are not read here; write the value itself"}},
		{name: "a tag", yaml: "listen: !!str 127.0.0.1:1\n",
			says: []string{"igproxy.yaml:1: listen: YAML tags are not read here; write the value without the !"}},
		{name: "a merge key", yaml: "log:\n  <<: {level: info}\n",
			says: []string{"igproxy.yaml:2: log: YAML merge keys are not read here; write the keys themselves"}},
		{name: "a second document", yaml: "listen: 127.0.0.1:1\n---\nlisten: 127.0.0.1:2\n",
			says: []string{"igproxy.yaml:2: a second YAML document; keep one: remove the --- line and what does not belong"}},
		{name: "a document that is a list", yaml: "- listen\n",
			says: []string{"igproxy.yaml:1: not a set of keys; write lines such as listen: 127.0.0.1:8080; see config.example.yaml"}},
		{name: "a document that is a word", yaml: "hello\n",
			says: []string{"igproxy.yaml:1: not a set of keys; write lines such as listen: 127.0.0.1:8080; see config.example.yaml"}},
		{name: "a key that is a number", yaml: "1: 2\n",
			says: []string{"igproxy.yaml:1: a key that is not a name; see config.example.yaml for the keys there are"}},
		{name: "a quotation mark never closed", yaml: "listen: \"127.0.0.1:1\nlog:\n  level: info\n",
			says: []string{"igproxy.yaml:1: not valid YAML here; look at the indentation, and for a missing quotation mark, colon or blank after it"}},
		{name: "a missing blank after the colon", yaml: "listen:127.0.0.1:1\nlog:\n  level: info\n",
			says: []string{"igproxy.yaml:2: not valid YAML here; look at the indentation, and for a missing quotation mark, colon or blank after it"}},
		{name: "a byte that is no text", yaml: "listen: 127.0.0.1:1\nlog: \x01\n",
			says: []string{"igproxy.yaml:2: a byte that is not text; save the file as UTF-8, without control characters"}},
	})
}

// Of a file that cannot be read nobody knows what it says: that something is missing would be a guess, and sends people the wrong way.
func TestAFileThatCannotBeReadBringsNoSecondProblem(t *testing.T) {
	bare := func(name, yaml, says string) input {
		return input{name: name, yaml: yaml, noSecret: true, env: []string{"IGPROXY_REDIS_URL=redis://127.0.0.1:1"}, says: []string{"igproxy.yaml:" + says}}
	}
	expect(t, []input{
		bare("a quotation mark never closed", "client_secret_file: ./secret\nlisten: \"127.0.0.1:1\n",
			"2: not valid YAML here; look at the indentation, and for a missing quotation mark, colon or blank after it"),
		bare("a second document", "listen: 127.0.0.1:1\n---\nclient_secret_file: ./secret\n", "2: a second YAML document; keep one: remove the --- line and what does not belong"),
		bare("a byte that is no text", "client_secret_file: ./secret\nlog: \x01\n", "2: a byte that is not text; save the file as UTF-8, without control characters"),
		{name: "a value that is wrong is told with what is missing", yaml: "listen: nonsense\n", noSecret: true, says: []string{
			"igproxy.yaml:1: listen: \"nonsense\" is not an address; write host:port, [::1]:port or unix:/path",
			"client_secret: no client secret; set IGPROXY_CLIENT_SECRET_FILE (or client_secret_file) to a file that holds it, or IGPROXY_CLIENT_SECRET"}},
	})
}
