package mock

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// splitNode knows /me, /{id} and an edge behind either.
func splitNode(path string) (node, edge string, known bool) {
	node, edge, deeper := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return node, edge, (node == "me" || digits(node)) && (!deeper || slices.Contains(edges, edge))
}

// refuseNode leaves the token's worth to judgeAny.
func (x *exchange) refuseNode() *graphError {
	if x.short == "" {
		return &noToken
	}
	return nil
}

// field of a node: its value is JSON already.
type field struct{ name, value string }

// user are the fields of the one user there is.
func (x *exchange) user() []field {
	f := x.family
	return []field{{"id", quoted(f.user)}, {"user_id", quoted(f.user)}, {"username", quoted(f.username)}, {"name", quoted("Anna Café")},
		{"account_type", quoted("BUSINESS")}, {"media_count", fmt.Sprint(mediaCount)}, {"followers_count", "1024"}, {"follows_count", "12"},
		{"profile_picture_url", quoted("https://scontent.cdninstagram.com/v/t51.2885-15/anna.jpg?oe=6500&_nc_ht=scontent")},
		{"biography", quoted("Photos & cafés")}, {"threads_biography", quoted("Photos & cafés")}}
}

// medium are the fields of one of its pictures, or of anything else with an id.
func (x *exchange) medium(id string) []field {
	return []field{{"id", quoted(id)}, {"caption", quoted("Crêpes ☕ 🥞 at the café")}, {"text", quoted("Crêpes ☕ 🥞 at the café")},
		{"media_type", quoted("IMAGE")}, {"media_url", quoted("https://scontent.cdninstagram.com/v/" + id + ".jpg?oe=6500&oh=00_Af")},
		{"permalink", quoted("https://www.instagram.com/p/" + id + "/")}, {"timestamp", quoted("2026-11-01T10:00:00+0000")},
		{"username", quoted(x.family.username)}, {"like_count", "7"}, {"comments_count", "0"}, {"status_code", quoted("FINISHED")}}
}

// nodeBody is the answer to a read.
func (x *exchange) nodeBody(_, _, members string) string {
	switch {
	case x.edge != "":
		return x.list(members)
	case x.node == "me" || x.node == x.family.user:
		return object(x.user(), last(x.query, "fields"), members)
	}
	return object(x.medium(x.node), last(x.query, "fields"), members)
}

// writtenBody is the answer to a write: the id of what it made, or that it went well.
func (x *exchange) writtenBody(_, _, members string) string {
	if x.edge == "" {
		return `{"success":true` + members + `}`
	}
	return fmt.Sprintf(`{"id":"%d"%s}`, firstMedium+mediaCount, members)
}

// object has the fields asked for, in that order, and the id in any case. What there is not is left out, as Meta does.
func object(all []field, asked, members string) string {
	var parts []string
	named := map[string]bool{}
	for _, name := range append(topLevel(asked), "id") {
		at := slices.IndexFunc(all, func(f field) bool { return f.name == name })
		if at >= 0 && !named[name] {
			parts = append(parts, quoted(name)+":"+all[at].value)
		}
		named[name] = true
	}
	return "{" + strings.Join(parts, ",") + members + "}"
}

// topLevel are the names in a list of fields, without what is asked of them in braces or behind a dot.
func topLevel(fields string) (names []string) {
	depth := 0
	for part := range strings.SplitSeq(fields, ",") {
		if depth == 0 {
			names = append(names, strings.TrimSpace(part[:(strings.IndexAny(part+".", ".{"))]))
		}
		depth += strings.Count(part, "{") - strings.Count(part, "}")
	}
	return names
}

// quoted is a text in JSON as PHP writes it: slashes and everything beyond ASCII escaped.
func quoted(s string) string {
	raw, _ := json.Marshal(s) // a string cannot fail
	var b strings.Builder
	for _, r := range string(raw) {
		switch {
		case r == '/':
			b.WriteString(`\/`)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		case r > 0x7e:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.NewReplacer(`\u0026`, "&", `\u003c`, "<", `\u003e`, ">").Replace(b.String())
}
