package proxy

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

func TestABodyAnnouncedAsTooLargeIsNotRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/oauth/access_token", unread{t})
	r.ContentLength = maxBody + 1
	r.Header.Set("Content-Type", "application/json")
	if _, refused := readParams(r, nil); refused != errForm {
		t.Errorf("got %v, want %v", refused, errForm)
	}
}

// Small bodies are read even while all places for large bodies are taken.
func TestTooManyLargeBodiesGet503(t *testing.T) {
	const pair = "fb_exchange_token=EAA&pad="
	full := make(chan struct{}, 1)
	full <- struct{}{}
	for size, want := range map[int]string{smallBody: "", smallBody + 1: "too many large bodies at once", maxBody: "too many large bodies at once"} {
		for _, length := range []int64{int64(size), -1} { // -1: in chunks
			r := httptest.NewRequest(http.MethodPost, "/oauth/access_token", strings.NewReader(pair+strings.Repeat("x", size-len(pair))))
			r.ContentLength = length
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			p, refused := readParams(r, full)
			if want == "" && (refused != nil || p.value[paramExtend] != "EAA") || want != "" && (refused == nil || refused.Status != 503 || refused.Cause != want || refused.RetryAt.IsZero()) {
				t.Errorf("%d bytes, announced as %d: got the refusal %v and fb_exchange_token %q; want a 503 with Retry-After and the cause %q (if empty: no refusal and EAA)", size, length, refused, p.value[paramExtend], want)
			}
		}
	}
	<-full
	r := httptest.NewRequest(http.MethodPost, "/oauth/access_token", strings.NewReader(pair+strings.Repeat("x", maxBody-len(pair))))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p, refused := readParams(r, full); refused != nil || p.value[paramExtend] != "EAA" || len(full) != 0 {
		t.Errorf("with a free place: got the refusal %v and fb_exchange_token %q, want no refusal and EAA; then %d places are taken, want 0", refused, p.value[paramExtend], len(full))
	}
}

// Forms with a signed request share the places for large bodies with token calls.
func TestTooManyLargeSignedFormsGet503(t *testing.T) {
	full := make(chan struct{}, 1)
	full <- struct{}{}
	request := func(kind, body string) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/_igproxy/signed_request", strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		return r
	}
	pad := strings.Repeat("x", smallBody)
	forms := map[string]string{"application/x-www-form-urlencoded": "signed_request=a.b&pad=" + pad,
		"multipart/form-data; boundary=b": "--b\r\nContent-Disposition: form-data; name=\"signed_request\"\r\n\r\na.b" + pad + "\r\n--b--\r\n"}
	for kind, body := range forms {
		if _, refused := signedRequestIn(request(kind, body), full); refused == nil || refused.Status != 503 || refused.RetryAt.IsZero() {
			t.Errorf("%s: got the refusal %v, want a 503 with Retry-After", kind, refused)
		}
	}
	if text, refused := signedRequestIn(request("application/x-www-form-urlencoded", "signed_request=a.b"), full); text != "a.b" || refused != nil {
		t.Errorf("a small form: got %q and the refusal %v, want a.b and no refusal", text, refused)
	}
	<-full
	for kind, body := range forms {
		if text, refused := signedRequestIn(request(kind, body), full); text == "" || refused != nil || len(full) != 0 {
			t.Errorf("%s, with a free place: got a signed request of %d bytes and the refusal %v, want some bytes and no refusal; then %d places are taken, want 0", kind, len(text), refused, len(full))
		}
	}
}

// Apps of two services may have the same ID. Then the Host name decides.
func TestTheHostDecidesBetweenAppsWithTheSameID(t *testing.T) {
	twin := App{Label: "twin", ID: pagesID, Secret: NewSecret(testSecret), RedirectURIs: []string{callback}}
	target := "/oauth/access_token?grant_type=authorization_code&code=C&client_id=" + pagesID + "&redirect_uri=" + url.QueryEscape(callback)
	for host, want := range map[string]string{"graph.facebook.com": "facebook", "api.instagram.com": "login", "localhost": ""} {
		w, facebook := facebookWorld(t, twin)
		w.login.say(200, codeAnswer)
		facebook.say(200, facebookAnswer)
		got := askAt(w.p, host, target)
		asked := map[string]int{"facebook": len(facebook.asked()), "login": len(w.login.asked())}
		if total := asked["facebook"] + asked["login"]; want == "" && (total != 0 || !strings.Contains(got.Body.String(), "/apps/twin/")) || want != "" && (total != 1 || asked[want] != 1) {
			t.Errorf("%s: got %d %s after the calls %v; want one call to %q (if empty: no call, and an error that names the apps)", host, got.Code, got.Body, asked, want)
		}
	}
	w, facebook := facebookWorld(t, twin)
	if askAt(w.p, "graph.instagram.com", "/v23.0/me?access_token=IGAA&client_id="+pagesID); len(facebook.asked()) != 0 {
		t.Errorf("a passed-through call to Instagram's host: Facebook was asked %q, want no calls", facebook.asked())
	}
}

// FuzzBody checks that readParams finds the same parameters in a body as the standard library, that
// no body makes readParams panic, and that readParams refuses a body of more than maxBody bytes.
func FuzzBody(f *testing.F) {
	const form, multi, object = "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/json"
	part := "--b\r\nContent-Disposition: form-data; name=\"code\"\r\n\r\nC\r\n"
	for _, seed := range [][2]string{{form, "grant_type=a&code=C&client_id=1"}, {form, "code=C&code=D"}, {form, "c%6fde=%41&code[]=x&a;b"}, {form, "code=a+b#_&&=&%zz"},
		{multi, part + "--b--\r\n"}, {multi, part + part + "--b--"}, {multi, strings.Replace(part, "code\"", "code\"; filename=\"\"", 1) + "--b--"}, {multi, part}, {"multipart/form-data", part},
		{object, `{"code":"C","client_id":12,"x":{"code":[1]},"redirect_uri":null}`}, {object, `{"c\u006fde":"C","code":"D"}`}, {object, " {\n\"code\" :\t-1e5 } "}, {object, `{"code":"\ud800","a":[[]]}`},
		{object, `{"code":true,}`}, {object, `{}{}`}, {object, `[`}, {"text/plain", "code=C"}, {"", ""}, {form + "; charset=utf-8", "code=C"}, {"multipart/mixed; boundary=b", part + "--b--"}} {
		f.Add(seed[0], []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		r := &http.Request{Method: http.MethodPost, URL: &url.URL{}, Header: http.Header{"Content-Type": {kind}},
			Body: io.NopCloser(strings.NewReader(string(body))), ContentLength: -1}
		got, refused := readParams(r, make(chan struct{}, 1))
		want, ok := standardParams(kind, body)
		switch {
		case refused != nil:
			if refused.Status != http.StatusBadRequest || ok && len(body) <= maxBody {
				t.Fatalf("%s %q: got the refusal %v, want a 400, and only if the body is too large or the standard library refuses it; the library accepts it: %v, parameters: %v", kind, body, refused, ok, want)
			}
			return
		case !ok && len(body) > 0 || len(body) > maxBody:
			t.Fatalf("%s %q: got the parameters %v, want a refusal", kind, body, got)
		case got.array:
			return // params.grants refuses the request later
		}
		for i, name := range paramNames {
			if got.count[i] != len(want[name]) || got.count[i] > 0 && got.value[i] != want[name][got.count[i]-1] && got.count[i] == 1 {
				t.Fatalf("%s %q: %s is %q, sent %d times; the standard library finds %q", kind, body, name, got.value[i], got.count[i], want[name])
			}
		}
	})
}

// standardParams returns the parameters that the standard library finds in a body, and reports
// whether the body is a JSON object, or a form with at least one field and no files.
func standardParams(kind string, body []byte) (values url.Values, ok bool) {
	kind, more, err := mime.ParseMediaType(kind)
	if err != nil {
		return nil, false
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		values, err = url.ParseQuery(string(body))
		return values, err == nil && len(values) > 0
	case "multipart/form-data":
		if more["boundary"] == "" {
			return nil, false
		}
		form, err := multipart.NewReader(strings.NewReader(string(body)), more["boundary"]).ReadForm(maxBody)
		if err != nil {
			return nil, false
		}
		return form.Value, len(form.File) == 0 && len(form.Value) > 0
	case "application/json":
		return standardMembers(body)
	}
	return nil, false
}

// standardMembers returns the members of a JSON object, except those that are null. Like addJSON,
// it adds a bracket to the name of a member that is neither a string nor a number.
func standardMembers(body []byte) (values url.Values, ok bool) {
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.UseNumber()
	begin, err := d.Token()
	if !json.Valid(body) || begin != json.Delim('{') {
		return nil, false
	}
	values = url.Values{}
	for depth, name := 0, ""; err == nil; {
		var token json.Token
		if token, err = d.Token(); errors.Is(err, io.EOF) {
			break
		}
		delim, _ := token.(json.Delim)
		switch {
		case delim == '}' && depth == 0:
			return values, true
		case delim == '[' || delim == '{':
			depth++
			if depth == 1 && slices.Contains(paramNames[:], name) {
				values.Add(name+"[", "")
			}
		case delim == ']' || delim == '}':
			if depth--; depth == 0 {
				name = ""
			}
		case depth > 0:
		case name == "":
			if name = token.(string); name == "" {
				name = "no name"
			}
		default:
			switch v := token.(type) {
			case string:
				values.Add(name, v)
			case json.Number:
				values.Add(name, v.String())
			case bool:
				values.Add(name+"[", "")
			}
			name = ""
		}
	}
	return values, false
}
