package passthrough

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzProof checks that a call gets a proof only if it has a token and all its tokens are equal.
// The call must then have only one proof, which is the proof of its token. Every other byte of the
// query and the form must be unchanged.
func FuzzProof(f *testing.F) {
	f.Add("fields=id&access_token=EAA%7C1&&x=%zz", "", "")
	f.Add("access_token=EAA&appsecret%5Fproof=old&appsecret_proof", "appsecret_proof=old&caption=x", "")
	f.Add("", "access_token=E+A&caption=%C3%A9", "")
	f.Add("a=b&access_token=%zz", "access_token=EAA&access_token=EAA2", "EAA")
	f.Add("appsecret_proof=old", "appsecret_proof=old", "EAA")
	f.Add("access_token=", "&&", "")
	f.Add("access_token=EAA;appsecret_proof=old", "access_token=EAA&pad="+strings.Repeat("x", maxForm), "EAA")
	f.Fuzz(func(t *testing.T, query, form, bearer string) {
		for _, length := range []int64{int64(len(form)), -1} { // -1: in chunks
			r := &http.Request{Method: http.MethodPost, URL: &url.URL{RawQuery: query}, Body: io.NopCloser(strings.NewReader(form)), ContentLength: length,
				Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Authorization": {"Bearer " + bearer}}}
			(&sending{call: Call{Proof: proofOf}}).prepare(r)
			body, err := io.ReadAll(r.Body)
			if err != nil || r.ContentLength >= 0 && r.ContentLength != int64(len(body)) {
				t.Fatalf("body: got %d bytes (error %v), want no error and the announced length, %d (-1: any length)", len(body), err, r.ContentLength)
			}
			gotQuery, gotForm := r.URL.RawQuery, string(body)
			read := form
			if len(form) > maxForm { // such a form is not searched
				read = ""
			}
			tokens := append(parameter(query, tokenParam), parameter(read, tokenParam)...)
			if own := BearerToken(r.Header["Authorization"]); own != "" {
				tokens = append(tokens, own)
			}
			slices.Sort(tokens)
			if tokens = slices.Compact(tokens); len(tokens) != 1 || tokens[0] == "" {
				if gotQuery != query || gotForm != form {
					t.Fatalf("tokens %q: got query %q and form %q, want %q and %q, unchanged", tokens, gotQuery, gotForm, query, form)
				}
				continue
			}
			proofs := parameter(gotQuery, proofParam)
			if read == form {
				proofs = append(proofs, parameter(gotForm, proofParam)...)
			} else if gotForm != form {
				t.Fatalf("a form of %d bytes: got a changed form of %d bytes, want the form unchanged, because it is too large", len(form), len(gotForm))
			}
			if len(proofs) != 1 || proofs[0] != proofOf(tokens[0]) {
				t.Fatalf("query %q, form %q: got the proofs %q, want only %q, the proof of the token", query, form, proofs, proofOf(tokens[0]))
			}
			if others(gotQuery) != others(query) || read == form && others(gotForm) != others(form) {
				t.Fatalf("query %q: got %q; form %q: got %q; want only the proofs changed", query, gotQuery, form, gotForm)
			}
		}
	})
}

// FuzzReplace checks that credentials.with puts the new token wherever the old token was, and that
// every other byte of the query and the form is unchanged.
func FuzzReplace(f *testing.F) {
	f.Add("fields=id&access_token=old&&x=%zz&access%5Ftoken=old", "access_token=old&caption=%20", "old", "n|ew")
	f.Add("access_token", "access_token=", "", "new")
	f.Add("access_token=a;b", "", "", "&=")
	f.Fuzz(func(t *testing.T, query, form, bearer, next string) {
		if BearerToken([]string{"Bearer " + next}) != next { // Meta's tokens are printable
			return
		}
		if BearerToken([]string{"Bearer " + bearer}) != bearer {
			bearer = ""
		}
		before := credentials{query: query, form: form, isForm: true, bearer: bearer}
		after := before.with(next)
		if before.token() != "" && after.token() != next {
			t.Fatalf("query %q, form %q, bearer %q: got the token %q, want %q", after.query, after.form, after.bearer, after.token(), next)
		}
		for _, pair := range [][2]string{{query, after.query}, {form, after.form}} {
			had, has := strings.Split(pair[0], "&"), strings.Split(pair[1], "&")
			if len(had) != len(has) {
				t.Fatalf("%q became %q, want the same number of pairs", pair[0], pair[1])
			}
			for i := range had {
				if len(parameter(had[i], tokenParam)) == 0 && had[i] != has[i] {
					t.Fatalf("%q became %q, want it unchanged, because it has no token", had[i], has[i])
				}
			}
		}
	})
}

func proofOf(token string) string { return hex.EncodeToString([]byte(token)) }

// parameter returns the unescaped values of a parameter. It ignores malformed pairs.
func parameter(raw, name string) (values []string) {
	for _, pair := range strings.Split(raw, "&") {
		key, value, _ := strings.Cut(pair, "=")
		key, errKey := url.QueryUnescape(key)
		value, errValue := url.QueryUnescape(value)
		if errKey == nil && errValue == nil && key == name {
			values = append(values, value)
		}
	}
	return values
}

// others returns a query or a form without proofs.
func others(raw string) string {
	var pairs []string
	for _, pair := range strings.Split(raw, "&") {
		key, _, _ := strings.Cut(pair, "=")
		if key, err := url.QueryUnescape(key); err != nil || key != proofParam {
			pairs = append(pairs, pair)
		}
	}
	return strings.Join(pairs, "&")
}
