package mock

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"
)

// splitNode splits /me or /{id}, with or without an edge. known is false for any other path.
func splitNode(path string) (node, edge string, known bool) {
	node, edge, deeper := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return node, edge, (node == "me" || digits(node)) && (!deeper || slices.Contains(edges, edge) || slices.Contains(facebookEdges, edge))
}

// refuseNode refuses a call without a token. judgeAny checks the token later.
func (x *call) refuseNode() *graphError {
	if x.short == "" {
		return &noToken
	}
	return nil
}

// judgeAny accepts every token that looks like a token of the family, unless the token is expired
// or revoked, or its appsecret_proof is refused. It also accepts valid app tokens, but not for /me.
func (x *call) judgeAny() *graphError {
	if x.isAppToken(x.short) {
		if x.node == "me" {
			return &noToken
		}
		return x.judgeAppToken(x.short)
	}
	if !x.family.own(x.short) {
		return &garbage
	}
	if dead := x.instagram.issued.dead(x.short); dead != nil {
		return dead
	}
	return x.judgeProof()
}

// field is one field of a node. Its value is already JSON.
type field struct{ name, value string }

// user returns the fields of the only user.
func (x *call) user() []field {
	f := x.family
	return []field{{"id", quoted(f.user)}, {"user_id", quoted(f.user)}, {"username", quoted(f.username)}, {"name", quoted("Anna Café")},
		{"account_type", quoted("BUSINESS")}, {"media_count", fmt.Sprint(mediaCount)}, {"followers_count", "1024"}, {"follows_count", "12"},
		{"profile_picture_url", quoted("https://scontent.cdninstagram.com/v/t51.2885-15/anna.jpg?oe=6500&_nc_ht=scontent")},
		{"biography", quoted("Photos & cafés")}, {"threads_biography", quoted("Photos & cafés")}}
}

// medium returns the fields of one of the user's media, or of any other node.
func (x *call) medium(id string) []field {
	return []field{{"id", quoted(id)}, {"caption", quoted("Crêpes ☕ 🥞 at the café")}, {"text", quoted("Crêpes ☕ 🥞 at the café")},
		{"media_type", quoted("IMAGE")}, {"media_url", quoted("https://scontent.cdninstagram.com/v/" + id + ".jpg?oe=6500&oh=00_Af")},
		{"permalink", quoted("https://www.instagram.com/p/" + id + "/")}, {"timestamp", quoted("2026-11-01T10:00:00+0000")},
		{"username", quoted(x.family.username)}, {"like_count", "7"}, {"comments_count", "0"}, {"status_code", quoted("FINISHED")}}
}

// nodeBody returns the response to a read.
func (x *call) nodeBody(_, _, members string) string {
	switch {
	case x.edge != "":
		return x.list(members)
	case x.node == "me" || x.node == x.family.user:
		return object(x.user(), last(x.query, "fields"), members)
	}
	return object(x.medium(x.node), last(x.query, "fields"), members)
}

// writtenBody returns the response to a write: the ID of the new node, or success.
func (x *call) writtenBody(_, _, members string) string {
	if x.edge == "" {
		return `{"success":true` + members + `}`
	}
	return fmt.Sprintf(`{"id":"%d"%s}`, firstMedium+mediaCount, members)
}

// object returns the requested fields in the requested order, and always the id. Like Meta, it
// leaves out unknown fields.
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

// topLevel returns the names in a list of fields, without subfields in braces and modifiers
// after a dot, such as .limit(3).
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

// quoted returns s as a JSON string the way PHP writes it: slashes and all non-ASCII characters are
// escaped.
func quoted(s string) string {
	raw, _ := json.Marshal(s) // a string always encodes
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
