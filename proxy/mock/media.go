package mock

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	mediaCount   = 60                // items of each edge
	firstMedium  = 17900000000000000 // the ID of the first item; the IDs of the others follow
	defaultLimit = 25                // items of a page without a valid limit
	maxLimit     = 100               // items of the longest page
)

// list returns one page of an edge. Every edge has the same items.
func (x *call) list(members string) string {
	begin, end := x.page()
	var items []string
	for n := begin; n < end; n++ {
		items = append(items, object(x.medium(strconv.Itoa(firstMedium+n)), last(x.query, "fields"), ""))
	}
	return `{"data":[` + strings.Join(items, ",") + `]` + x.paging(begin, end) + members + `}`
}

// page returns the range of items that the limit and a cursor select. An invalid cursor selects the
// first page.
func (x *call) page() (begin, end int) {
	limit, err := strconv.Atoi(last(x.query, "limit"))
	if err != nil || limit < 1 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	if n, ok := fromCursor(last(x.query, "before")); ok {
		return max(n-limit, 0), n
	}
	if n, ok := fromCursor(last(x.query, "after")); ok {
		begin = n + 1
	}
	return begin, min(begin+limit, mediaCount)
}

// paging returns the paging member: cursors of the first and the last item, and the URLs of the
// previous and next pages, if they exist.
func (x *call) paging(begin, end int) string {
	if begin >= end {
		return ""
	}
	text := fmt.Sprintf(`,"paging":{"cursors":{"before":"%s","after":"%s"}`, cursor(begin), cursor(end-1))
	if begin > 0 {
		text += `,"previous":` + quoted(x.pageURL("before", cursor(begin)))
	}
	if end < mediaCount {
		text += `,"next":` + quoted(x.pageURL("after", cursor(end-1)))
	}
	return text + "}"
}

// pageURL returns the URL of a page. Like Meta's, it is absolute, has the token and a version, and
// has the user's ID instead of "me".
func (x *call) pageURL(direction, cursor string) string {
	node := x.node
	if node == "me" {
		node = x.family.user
	}
	text := x.base() + "/" + x.version + "/" + node + "/" + x.edge + "?access_token=" + url.QueryEscape(x.short)
	var names []string
	for name := range x.query {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if name != "access_token" && name != "before" && name != "after" {
			text += "&" + url.QueryEscape(name) + "=" + url.QueryEscape(last(x.query, name))
		}
	}
	return text + "&" + direction + "=" + cursor
}

// base returns the scheme and host for URLs in responses.
func (x *call) base() string {
	switch {
	case x.instagram.pagingBase != "":
		return x.instagram.pagingBase
	case x.r.TLS != nil:
		return "https://" + x.r.Host
	}
	return "http://" + x.r.Host
}

func cursor(n int) string {
	return base64.RawURLEncoding.EncodeToString([]byte("QVFIU" + strconv.Itoa(n)))
}

func fromCursor(text string) (n int, ok bool) {
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	after, ok := strings.CutPrefix(string(raw), "QVFIU")
	n, err := strconv.Atoi(after)
	return n, ok && err == nil && n >= 0 && n < mediaCount
}
