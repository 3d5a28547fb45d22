package passthrough

import (
	"bytes"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// rewritePaging replaces the base of the paging URLs in a response with c.Own. It reads a response
// of up to MaxJSONBytes into memory. A longer response is streamed unchanged.
func (p *Proxy) rewritePaging(res *http.Response, c Call) error {
	text, whole, err := readAhead(res.Body, res.Body, p.options.MaxJSONBytes+1)
	if err != nil {
		return err
	}
	if int64(len(text)) > p.options.MaxJSONBytes {
		res.Body = whole
		return nil
	}
	text = pagingURLs(c).ReplaceAllFunc(text, func(found []byte) []byte {
		name, _, _ := bytes.Cut(found, []byte("http"))
		own := c.Own + "/"
		if bytes.Contains(found, []byte(`\/`)) { // PHP writes slashes in JSON like this
			own = strings.ReplaceAll(own, "/", `\/`)
		}
		return append(slices.Clone(name), own...)
	})
	_ = res.Body.Close()
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(text)), int64(len(text))
	res.Header.Del("Content-Length")
	return nil
}

// pagingURLs returns an expression that matches the beginning of the members next and previous in
// JSON, from the name to the first slash after the host. It matches three hosts: the host that was
// called, graph.instagram.com and graph.threads.net. Slashes may be escaped.
func pagingURLs(c Call) *regexp.Regexp {
	hosts := regexp.QuoteMeta(strings.TrimSuffix(c.Base.String(), "/")) +
		`|https://graph\.(?:instagram\.com|threads\.net)`
	return regexp.MustCompile(`"(?:next|previous)"\s*:\s*"(?:` + strings.ReplaceAll(hosts, "/", `\\?/`) + `)\\?/`)
}
