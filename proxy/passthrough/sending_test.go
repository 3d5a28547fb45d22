package passthrough_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/proxy/passthrough"
)

const (
	form      = "application/x-www-form-urlencoded"
	multipart = "multipart/form-data; boundary=b"
)

// seen is what Meta saw of one call.
type seen struct{ query, bearer, body, encoding string }

// tokenServer plays Meta's part and records the calls. It responds with 400 to a call that contains
// the text "invalid", and accepts all other calls.
func tokenServer(t *testing.T, calls *[]seen) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		one := seen{r.URL.RawQuery, r.Header.Get("Authorization"), string(body), r.Header.Get("Accept-Encoding")}
		*calls = append(*calls, one)
		if !strings.Contains(fmt.Sprint(one), "invalid") {
			_, _ = io.WriteString(w, "ok")
			return
		}
		text := []byte("code 190")
		if one.encoding == "gzip" {
			w.Header().Set("Content-Encoding", "gzip")
			var b bytes.Buffer
			z := gzip.NewWriter(&b)
			_, _ = z.Write(text)
			_ = z.Close()
			text = b.Bytes()
		}
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(text)
	}
}

func isCode190(_ int, body []byte) bool { return string(body) == "code 190" }

// A token is replaced in the query, in the Authorization header and in a form. All other bytes stay
// as they are. Other bodies are not searched for a token, and a call with different tokens is not
// changed.
func TestTokenIsReplacedInQueryHeaderAndForm(t *testing.T) {
	for name, c := range map[string]struct {
		query, bearer, contentType, body string
		want                             seen
	}{
		"query":                       {query: "a=%20&access_token=old&b", want: seen{query: "a=%20&access_token=n%7Cew&b"}},
		"escaped":                     {query: "access%5Ftoken=o%6Cd", want: seen{query: "access%5Ftoken=n%7Cew"}},
		"bearer":                      {query: "a=1", bearer: "Bearer old", want: seen{query: "a=1", bearer: "Bearer n|ew"}},
		"form":                        {contentType: form, body: "x=+&access_token=old", want: seen{body: "x=+&access_token=n%7Cew"}},
		"all three":                   {query: "access_token=old", bearer: "Bearer old", contentType: form, body: "access_token=old", want: seen{query: "access_token=n%7Cew", bearer: "Bearer n|ew", body: "access_token=n%7Cew"}},
		"JSON":                        {contentType: "application/json", body: `{"access_token":"old"}`, want: seen{body: `{"access_token":"old"}`}},
		"multipart":                   {contentType: multipart, body: "--b\r\nContent-Disposition: form-data; name=access_token\r\n\r\nold\r\n--b--", want: seen{body: "--b\r\nContent-Disposition: form-data; name=access_token\r\n\r\nold\r\n--b--"}},
		"a query and a streamed body": {query: "access_token=old", contentType: "application/json", body: `{"a":"old"}`, want: seen{query: "access_token=n%7Cew", body: `{"a":"old"}`}},
		"a form that is too long":     {query: "access_token=old", contentType: form, body: strings.Repeat("x", 64<<10+1), want: seen{query: "access_token=n%7Cew", body: strings.Repeat("x", 64<<10+1)}},
		"different tokens":            {query: "access_token=old&access_token=older", want: seen{query: "access_token=old&access_token=older"}},
		"no token":                    {query: "fields=id", want: seen{query: "fields=id"}},
		"a token without a successor": {query: "access_token=kept", want: seen{query: "access_token=kept"}},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []seen
			s := newSidecar(t, passthrough.Options{}, tokenServer(t, &calls))
			s.replace = func(token string) string {
				if token == "old" {
					return "n|ew"
				}
				return token
			}
			s.invalid = isCode190
			s.post(t, c.query, c.bearer, c.contentType, c.body)
			for i := range calls {
				calls[i].encoding = ""
			}
			if len(calls) != 1 || calls[0] != c.want {
				t.Errorf("Meta saw %q, want %q", calls, c.want)
			}
		})
	}
}

// If Meta refuses the new token, the call is sent again with its original token and the proof of
// that token. The app gets the second response. A call whose body was streamed cannot be sent
// again.
func TestTheOriginalTokenIsSentAfterTheNewTokenIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		own               string // the token that the app sends
		contentType, body string
		encoding          string // the Accept-Encoding of the app
		want              []string
		wantStatus        int
		wantRefused       string // if the app gets a refusal: the token that Meta refused in it
	}{
		"original token is valid":   {own: "old", want: []string{"access_token=invalid-new&p=proof-of-invalid-new", "access_token=old&p=proof-of-old"}, wantStatus: 200},
		"original token is invalid": {own: "invalid-old", want: []string{"access_token=invalid-new&p=proof-of-invalid-new", "access_token=invalid-old&p=proof-of-invalid-old"}, wantStatus: 400, wantRefused: "invalid-old"},
		"a form":                    {own: "old", contentType: form, body: "caption=x", want: []string{"access_token=invalid-new&p=proof-of-invalid-new", "access_token=old&p=proof-of-old"}, wantStatus: 200},
		"a body that was streamed":  {own: "old", contentType: "image/jpeg", body: "x", want: []string{"access_token=invalid-new&p=proof-of-invalid-new"}, wantStatus: 400, wantRefused: "invalid-new"},
		"the app accepts only br":   {own: "old", encoding: "br", want: []string{"access_token=invalid-new&p=proof-of-invalid-new", "access_token=old&p=proof-of-old"}, wantStatus: 200},
		"the app accepts gzip, too": {own: "old", encoding: "br, gzip;q=0.5", want: []string{"access_token=invalid-new&p=proof-of-invalid-new", "access_token=old&p=proof-of-old"}, wantStatus: 200},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []seen
			var refused []string
			s := newSidecar(t, passthrough.Options{}, tokenServer(t, &calls))
			s.replace = func(string) string { return "invalid-new" }
			s.invalid = isCode190
			s.prove = func(token string) string { return "proof-of-" + token }
			s.refused = func(token string, _ int, body []byte) {
				if isCode190(0, body) {
					refused = append(refused, token)
				}
			}
			status := s.post(t, "access_token="+c.own, "", c.contentType, c.body, "Accept-Encoding", c.encoding)
			var got []string
			for _, one := range calls {
				got = append(got, strings.Replace(one.query, "appsecret_proof", "p", 1))
				if one.body != c.body {
					t.Errorf("Meta got the body %q, want %q", one.body, c.body)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(c.want) || status != c.wantStatus {
				t.Errorf("Meta saw %q, want %q; the app got status %d, want %d", got, c.want, status, c.wantStatus)
			}
			if fmt.Sprint(refused) != fmt.Sprint(strings.Fields(c.wantRefused)) {
				t.Errorf("OnRefused got the tokens %q, want %q", refused, c.wantRefused)
			}
		})
	}
}

// post sends a POST with these parts and returns the status of the response. The parameter header
// is a list: the name of a further header, its value, the next name and so on.
func (s *sidecar) post(t *testing.T, query, bearer, contentType, body string, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/me?"+query, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	if bearer != "" {
		r.Header.Set("Authorization", bearer)
	}
	r.Header.Set("Content-Type", contentType)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	<-s.results
	return res.StatusCode
}

// A new token needs a new proof, so igproxy replaces the token and the proof together. If the app's
// proof does not fit its token, igproxy replaces neither: the app may not have the client secret,
// so its call must not get a valid proof.
func TestProofFromTheAppIsReplacedTogetherWithTheToken(t *testing.T) {
	for name, c := range map[string]struct {
		query, body string
		want        []seen
	}{
		"in the query": {query: "access_token=old&appsecret_proof=proof-of-old&a=1", want: []seen{{query: "access_token=new&a=1&appsecret_proof=proof-of-new"}}},
		"in the form":  {body: "appsecret_proof=proof-of-old&access_token=old", want: []seen{{body: "access_token=new&appsecret_proof=proof-of-new"}}},
		"no proof":     {query: "access_token=old", want: []seen{{query: "access_token=new"}}},
		"wrong proof":  {query: "access_token=old&appsecret_proof=x", want: []seen{{query: "access_token=old&appsecret_proof=x"}}},
		"two proofs": {query: "access_token=old&appsecret_proof=x", body: "appsecret_proof=proof-of-old",
			want: []seen{{query: "access_token=old&appsecret_proof=x", body: "appsecret_proof=proof-of-old"}}},
		"not replaced": {query: "access_token=other&appsecret_proof=proof-of-other", want: []seen{{query: "access_token=other&appsecret_proof=proof-of-other"}}},
		"refused": {query: "access_token=bad&appsecret_proof=proof-of-bad", want: []seen{
			{query: "access_token=invalid&appsecret_proof=proof-of-invalid"}, {query: "access_token=bad&appsecret_proof=proof-of-bad"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var calls []seen
			s := newSidecar(t, passthrough.Options{}, tokenServer(t, &calls))
			s.replace = func(token string) string {
				return cmp.Or(map[string]string{"old": "new", "bad": "invalid"}[token], token)
			}
			s.invalid = isCode190
			s.proofOf = func(token string) string { return "proof-of-" + token }
			s.post(t, c.query, "", form, c.body)
			for i := range calls {
				calls[i].encoding = ""
			}
			if !slices.Equal(calls, c.want) {
				t.Errorf("Meta saw %q, want %q", calls, c.want)
			}
		})
	}
}
