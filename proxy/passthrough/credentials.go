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

// The parameters that addProof reads or writes.
const (
	tokenParam = "access_token"
	proofParam = "appsecret_proof"
)

// maxProvenForm bounds the size of a form that is searched for a token, in bytes.
const maxProvenForm = 64 << 10

// addProof adds the appsecret_proof of the call's token: to the form if the token is in it,
// otherwise to the query. It removes any other proof, and changes nothing else. A call without a
// token, or with different tokens, stays as it is: Meta decides about such a call.
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

// bufferForm reads a URL-encoded form of at most maxProvenForm bytes and returns it. It reports
// false for any other body. In either case, the whole body of r can be read afterwards. If reading
// it failed, the next reader gets the same error.
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

// valueOf returns the value of a pair. It reports false for a malformed pair and for one with
// another name.
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
