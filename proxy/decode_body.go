package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/igproxy/igproxy/proxy/graph"
)

// maxBody is the size of the largest body of a token call, in bytes. That is enough for a code, a
// URI and a few names.
const maxBody = 64 << 10

const (
	// smallBody is the size of the largest small body, in bytes. Any number of small bodies can be
	// in memory at the same time.
	smallBody = 4 << 10
	// maxLargeBodies is the maximum number of bodies above smallBody that are in memory at the same
	// time. Without this limit, clients that slowly send large bodies on all connections would use
	// up the memory of a small container.
	maxLargeBodies = 32
)

// readParams reads the parameters of a token call from the query or from the body. It refuses a
// call with parameters in both, with one exception: if the body has fb_exchange_token, readParams
// ignores an access_token in the query. Meta documents one way to send each call, but clients use
// four: GET with a query, and POST with a query, a form or a JSON object. The channel large has an
// item for each body above smallBody that is in memory.
func readParams(r *http.Request, large chan struct{}) (p params, refused *graph.Error) {
	if r.Method != http.MethodGet && r.Method != http.MethodPost {
		return p, errMethod
	}
	p, refused = readQuery(r.URL.RawQuery)
	if refused != nil || r.Method == http.MethodGet || !announcesBody(r) {
		return p, refused
	}
	sent, refused := readBody(r, large)
	switch {
	case refused != nil:
		return p, refused
	case sent == params{}:
		return p, nil
	case sent.count[paramExtend] > 0 && p == p.withOnly(paramToken): // Meta's SDK for Node.js sends both
		return sent, nil
	case p != params{}:
		return p, errTwoPlaces
	}
	return sent, nil
}

// withOnly returns a copy of p that has only the given parameter.
func (p params) withOnly(one param) (left params) {
	left.count[one], left.value[one] = p.count[one], p.value[one]
	return left
}

// readBody reads the body of a request. It accepts a URL-encoded form as in RFC 6749, a multipart
// form as curl -F sends it in Meta's documentation, and a JSON object as some HTTP clients send it
// by default. An empty body may have any type. A body that is announced as too large is not read.
// So a client that waits for 100 Continue does not send it.
func readBody(r *http.Request, large chan struct{}) (p params, refused *graph.Error) {
	if r.ContentLength > maxBody {
		return p, errForm
	}
	limited := &largeBody{ReadCloser: r.Body, large: large, left: smallBody + 1}
	defer limited.end()
	body, err := io.ReadAll(http.MaxBytesReader(nil, limited, maxBody))
	switch {
	case errors.Is(err, errTooManyLarge):
		return p, errLargeBodies()
	case err != nil:
		return p, errForm
	}
	if len(body) == 0 {
		return p, nil
	}
	if len(r.Header["Content-Type"]) != 1 {
		return p, errForm
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return p, errForm
	}
	if kind == "application/json" {
		return readJSON(body)
	}
	return readForm(&http.Request{Method: http.MethodPost, Header: r.Header, Body: io.NopCloser(bytes.NewReader(body))})
}

// largeBody is the body of a request. Reading more than smallBody bytes of it takes one of the
// places for large bodies, and fails with errTooManyLarge if no place is free. The method end frees
// the place.
type largeBody struct {
	io.ReadCloser
	large chan struct{}
	left  int // how many more bytes can be read without a place
	taken bool
}

var errTooManyLarge = errors.New("too many large bodies")

func (b *largeBody) Read(p []byte) (int, error) {
	if b.left == 0 && !b.taken {
		select {
		case b.large <- struct{}{}:
			b.taken = true
		default:
			return 0, errTooManyLarge
		}
	}
	if b.taken {
		return b.ReadCloser.Read(p)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (b *largeBody) end() {
	if b.taken {
		<-b.large
	}
}

// readForm reads a URL-encoded or multipart form.
func readForm(r *http.Request) (p params, refused *graph.Error) {
	if r.ParseForm() != nil {
		return p, errForm
	}
	if err := r.ParseMultipartForm(maxBody); err != nil && !errors.Is(err, http.ErrNotMultipart) {
		return p, errForm
	}
	if len(r.PostForm) == 0 || r.MultipartForm != nil && len(r.MultipartForm.File) > 0 {
		return p, errForm
	}
	for name, values := range r.PostForm {
		for _, value := range values {
			p.add(name, value)
		}
	}
	return p, nil
}

// readJSON reads the members of a JSON object. A value must be a string or a number. Numbers are
// accepted because some apps store an ID as a number. A number keeps its digits as they were sent.
// A member that is null counts as not sent. A member whose name igproxy does not know may have any
// value.
func readJSON(body []byte) (p params, refused *graph.Error) {
	d := json.NewDecoder(bytes.NewReader(body))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return p, errForm
	}
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err != nil || d.Decode(&value) != nil {
			return p, errForm
		}
		p.addJSON(name.(string), value) // the decoder accepts only strings as names
	}
	if _, err := d.Token(); err != nil {
		return p, errForm
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return p, errForm
	}
	return p, nil
}

// addJSON adds a member of a JSON object.
func (p *params) addJSON(name string, value json.RawMessage) {
	switch c := value[0]; {
	case c == 'n': // null
	case c == '"':
		var text string
		_ = json.Unmarshal(value, &text) // cannot fail: the decoder has checked the value
		p.add(name, text)
	case c == '-' || '0' <= c && c <= '9':
		p.add(name, string(value))
	default: // a boolean, an array or an object; the bracket makes a known name malformed
		p.add(name+"[", "")
	}
}
