package graph

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
)

// maxMembers bounds the members of one JSON object. Meta's objects have about ten.
const maxMembers = 256

// Causes for the log. They never quote what was read.
var (
	errNotJSON   = errors.New("not one JSON object")
	errDuplicate = errors.New("a member appears twice")
	errTooMany   = errors.New("more than 256 members")
)

// member is one name and value of a JSON object. The value keeps its bytes, without the white space
// around it.
type member struct {
	name  string
	value json.RawMessage
}

// splitObject splits one JSON object into its members, in linear time. It returns errNotJSON if the
// body is anything but one object, and errTooMany if the object has more than maxMembers members.
func splitObject(body []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errNotJSON
	}
	var members []member
	for dec.More() {
		if len(members) == maxMembers {
			return nil, errTooMany
		}
		t, err := dec.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotJSON
		}
		var value json.RawMessage
		if dec.Decode(&value) != nil {
			return nil, errNotJSON
		}
		members = append(members, member{name, value})
	}
	if _, err := dec.Token(); err != nil {
		return nil, errNotJSON
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errNotJSON
	}
	return members, nil
}

// objectMembers splits the JSON object of a successful response, in linear time. It refuses what
// splitObject refuses, and also a name that appears twice. It drops lookalikes.
func objectMembers(body []byte) ([]member, error) {
	members, err := splitObject(body)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool, len(members))
	for _, m := range members {
		if seen[m.name] {
			return nil, errDuplicate
		}
		seen[m.name] = true
	}
	return slices.DeleteFunc(members, func(m member) bool { return lookalike(m.name) }), nil
}

// onlyElement returns the only element of a JSON array. It returns errNotJSON if value, which must
// be valid JSON, is not an array with exactly one element. It stops after the first element,
// because the array may be very long.
func onlyElement(value json.RawMessage) (one json.RawMessage, err error) {
	dec := json.NewDecoder(bytes.NewReader(value))
	if t, err := dec.Token(); err != nil || t != json.Delim('[') || !dec.More() {
		return nil, errNotJSON
	}
	if dec.Decode(&one) != nil || dec.More() {
		return nil, errNotJSON
	}
	return one, nil
}

// knownMembers are the names of the members that an app reads in a successful response or in an
// error.
var knownMembers = []string{"access_token", "token_type", "expires_in", "user_id", "permissions", "data",
	"error", "error_type", "error_message", "code"}

// lookalike reports whether a name differs from a known name only in letter case. An app that
// ignores case when it decodes, as Go's encoding/json does, could read the lookalike instead of the
// known member. Like encoding/json, EqualFold also folds the Kelvin sign (U+212A) to k and the long
// s (U+017F) to s.
func lookalike(name string) bool {
	return !slices.Contains(knownMembers, name) &&
		slices.ContainsFunc(knownMembers, func(k string) bool { return strings.EqualFold(name, k) })
}

// encode returns v as JSON without HTML escapes, so that tokens and names stay as Meta writes them.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // cannot fail: v has only strings, numbers and booleans
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// appendMember appends a comma and a member to an unfinished JSON object.
func appendMember(object []byte, m member) []byte {
	return append(append(append(append(object, ','), encode(m.name)...), ':'), m.value...)
}
