package passthrough

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// The parameters of a call that igproxy reads or writes.
const (
	tokenParam = "access_token"
	proofParam = "appsecret_proof" // called "proof" below: an HMAC of the token, with the client secret as its key
)

// maxForm bounds the size of a form that is searched for a token, in bytes.
const maxForm = 64 << 10

// credentials are the parts of a call that can contain its token and its proof.
type credentials struct {
	query  string
	form   string // the body, if isForm
	isForm bool   // the body is a URL-encoded form of at most maxForm bytes; any other body is not searched
	bearer string
}

// readCredentials reads the credentials of a call. If forms is true, it also reads a URL-encoded
// form of at most maxForm bytes. The whole body of r can be read afterwards.
func readCredentials(r *http.Request, forms bool) credentials {
	c := credentials{query: r.URL.RawQuery, bearer: BearerToken(r.Header["Authorization"])}
	if forms {
		c.form, c.isForm = bufferForm(r)
	}
	return c
}

// token returns the token of the call. It returns "" if the call has no token, or several that
// differ. Such a call is sent unchanged, and Meta decides about it.
func (c credentials) token() string {
	tokens := slices.Concat(valuesOf(c.query, tokenParam), valuesOf(c.form, tokenParam))
	if c.bearer != "" {
		tokens = append(tokens, c.bearer)
	}
	if tokens = slices.Compact(slices.Sorted(slices.Values(tokens))); len(tokens) != 1 {
		return ""
	}
	return tokens[0]
}

// proofs returns the different proofs of the call.
func (c credentials) proofs() []string {
	proofs := slices.Concat(valuesOf(c.query, proofParam), valuesOf(c.form, proofParam))
	return slices.Compact(slices.Sorted(slices.Values(proofs)))
}

// with returns the credentials with this token in each place that has a token. All other bytes stay
// as they are.
func (c credentials) with(token string) credentials {
	c.query, c.form = replaced(c.query, token), replaced(c.form, token)
	if c.bearer != "" {
		c.bearer = token
	}
	return c
}

// proven returns the credentials with this appsecret_proof instead of any other. It puts the proof
// into the form if the form has a token, and otherwise into the query.
func (c credentials) proven(proof string) credentials {
	proof = proofParam + "=" + proof
	inForm := len(valuesOf(c.form, tokenParam)) > 0
	c.query, c.form = without(c.query, proofParam), without(c.form, proofParam)
	if inForm {
		c.form = join(c.form, proof)
	} else {
		c.query = join(c.query, proof)
	}
	return c
}

// writeTo writes the credentials to a call.
func (c credentials) writeTo(r *http.Request) {
	r.URL.RawQuery = c.query
	if c.isForm {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(c.form)), int64(len(c.form))
	}
	if c.bearer != "" {
		r.Header.Set("Authorization", "Bearer "+c.bearer)
	}
}

// Format prints a fixed text, and nothing of the credentials.
func (c credentials) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "[credentials]") }

// bufferForm reads a URL-encoded form of at most maxForm bytes and returns it. It reports false for
// any other body. In either case, the whole body of r can be read afterwards. If reading the body
// fails, the next reader gets the same error.
func bufferForm(r *http.Request) (form string, ok bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.ContentLength == 0 || r.ContentLength > maxForm {
		return "", false
	}
	text, whole, err := readAhead(r.Body, r.Body, maxForm+1)
	r.Body = whole
	if err != nil || len(text) > maxForm {
		return "", false // an incomplete form is not searched
	}
	return string(text), true
}

// readAhead reads at most limit bytes of body through the parameter from, which is body or wraps
// body. whole yields the same bytes again, and then the rest of body or the error.
func readAhead(body io.ReadCloser, from io.Reader, limit int64) (text []byte, whole io.ReadCloser, err error) {
	text, err = io.ReadAll(io.LimitReader(from, limit))
	rest := io.Reader(body)
	if err != nil {
		rest = failed{err}
	}
	return text, struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(text), rest), body}, err
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

// valueOf returns the value of a pair. It reports false for a malformed pair and for a pair with
// another name.
func valueOf(pair, name string) (value string, ok bool) {
	key, value, _ := strings.Cut(pair, "=")
	if key, err := url.QueryUnescape(key); err != nil || key != name {
		return "", false
	}
	value, err := url.QueryUnescape(value)
	return value, err == nil
}

// replaced returns a query or a form with this token instead of each token in it.
func replaced(raw, token string) string {
	pairs := strings.Split(raw, "&")
	for i, pair := range pairs {
		if _, ok := valueOf(pair, tokenParam); ok {
			name, _, _ := strings.Cut(pair, "=")
			pairs[i] = name + "=" + url.QueryEscape(token)
		}
	}
	return strings.Join(pairs, "&")
}

// without returns a query or a form without the pairs that have this name. All other bytes stay as
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
