package passthrough

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The parameters of a call that matter for its proof.
const (
	tokenParam = "access_token"
	proofParam = "appsecret_proof"
)

// maxProvenForm is the size of the largest form that is searched for a token, in bytes.
const maxProvenForm = 64 << 10

// addProof adds the proof of the call's token to the query, or to the form that has the token, and
// removes any other proof. It changes nothing else. Without a token, or with two different ones, it
// changes nothing at all: Meta decides about such a call.
func addProof(r *http.Request, prove func(token string) string) {
	form, isForm := bufferForm(r)
	inQuery, inForm := valuesOf(r.URL.RawQuery, tokenParam), valuesOf(form, tokenParam)
	tokens := slices.Concat(inQuery, inForm)
	if bearer := BearerToken(r.Header["Authorization"]); bearer != "" {
		tokens = append(tokens, bearer)
	}
	if tokens = slices.Compact(slices.Sorted(slices.Values(tokens))); len(tokens) != 1 || tokens[0] == "" {
		return
	}
	proof := proofParam + "=" + prove(tokens[0])
	query := without(r.URL.RawQuery, proofParam)
	if isForm {
		form = without(form, proofParam)
	}
	if len(inForm) > 0 {
		form = join(form, proof)
	} else {
		query = join(query, proof)
	}
	r.URL.RawQuery = query
	if isForm {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(form)), int64(len(form))
	}
}

// bufferForm reads a URL-encoded form of up to maxProvenForm bytes and returns it. The body of r
// can still be read: it is the form, or whatever else the body is. Reading a body that fails
// reports the same error again.
func bufferForm(r *http.Request) (form string, ok bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.ContentLength == 0 || r.ContentLength > maxProvenForm {
		return "", false
	}
	body := r.Body
	text, err := io.ReadAll(io.LimitReader(body, maxProvenForm+1))
	rest := io.Reader(body)
	if err != nil {
		rest = failed{err}
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), rest), body}
	if err != nil || len(text) > maxProvenForm {
		return "", false // a part of a form is not searched
	}
	return string(text), true
}

// failed is a reader that always fails.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// valuesOf returns the values of a parameter in a query or a form. It ignores malformed pairs.
func valuesOf(raw, name string) (values []string) {
	for pair := range strings.SplitSeq(raw, "&") {
		if value, ok := valueOf(pair, name); ok {
			values = append(values, value)
		}
	}
	return values
}

// valueOf returns the value of one pair, and reports whether the pair has the name.
func valueOf(pair, name string) (value string, ok bool) {
	key, value, _ := strings.Cut(pair, "=")
	if key, err := url.QueryUnescape(key); err != nil || key != name {
		return "", false
	}
	value, err := url.QueryUnescape(value)
	return value, err == nil
}

// without returns a query or a form without the pairs of a parameter. It leaves all other bytes as
// they are.
func without(raw, name string) string {
	pairs := strings.Split(raw, "&")
	left := slices.DeleteFunc(slices.Clone(pairs), func(pair string) bool {
		key, _, _ := strings.Cut(pair, "=")
		key, err := url.QueryUnescape(key)
		return err == nil && key == name
	})
	if len(left) == len(pairs) {
		return raw
	}
	return strings.Join(left, "&")
}

// join appends a pair to a query or a form.
func join(raw, pair string) string {
	if raw == "" {
		return pair
	}
	return raw + "&" + pair
}
