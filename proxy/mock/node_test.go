package mock

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

func TestReadsReturnTheRequestedFields(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for target, want := range map[string]string{
		"/me?access_token=IGAA1": `{"id":"17841400000000001"}`,
		"/v23.0/me?fields=username,account_type,id&access_token=IGAA1":                                      `{"username":"anna.photos","account_type":"BUSINESS","id":"17841400000000001"}`,
		"/17841400000000001?fields=name,nonsense,name&access_token=IGAA1":                                   `{"name":"Anna Caf\u00e9","id":"17841400000000001"}`,
		"/17900000000000007?fields=media_type,children%7Bid,username%7D,like_count.x(1)&access_token=IGAA1": `{"media_type":"IMAGE","like_count":7,"id":"17900000000000007"}`,
		"/17900000000000007?fields=permalink,text&access_token=EAA1": `{"permalink":"https:\/\/www.instagram.com\/p\/17900000000000007\/",` +
			`"text":"Cr\u00eapes \u2615 \ud83e\udd5e at the caf\u00e9","id":"17900000000000007"}`,
		"/me?fields=biography&access_token=IGAA1": `{"biography":"Photos & caf\u00e9s","id":"17841400000000001"}`,
	} {
		if a := s.get(t, target); a.status != 200 || a.body != want || a.header.Get("Content-Type") != jsonType {
			t.Errorf("%s: got %d %s of type %s, want 200 %s of type %s", target, a.status, a.body, a.header.Get("Content-Type"), want, jsonType)
		}
	}
	if got := s.CallsTo("read"); got != 6 || len(s.Strange()) != 0 {
		t.Errorf("%d reads, want 6; strange: %v, want none", got, s.Strange())
	}
}

func TestPagingURLsReachAllItemsAndCarryTheToken(t *testing.T) {
	for _, overTLS := range []bool{false, true} {
		s := newStand(t, ServerOptions{TLS: overTLS})
		target := s.server.URL + "/me/media?limit=25&fields=id,caption&access_token=IGAA1"
		var sizes []int
		var urls, backwards []string
		seen := map[string]bool{}
		for target != "" && len(sizes) < 10 {
			a := s.get(t, strings.TrimPrefix(target, s.server.URL))
			var page struct {
				Data   []struct{ ID string }
				Paging struct{ Next, Previous string }
			}
			if err := json.Unmarshal([]byte(a.body), &page); err != nil || a.status != 200 {
				t.Fatalf("%s: got %d %s, want 200", target, a.status, a.body)
			}
			for _, d := range page.Data {
				seen[d.ID] = true
			}
			sizes, target = append(sizes, len(page.Data)), page.Paging.Next
			urls, backwards = append(urls, target), append(backwards, page.Paging.Previous)
			if target != "" && !strings.Contains(a.body, `"next":"`+strings.ReplaceAll(target, "/", `\/`)+`"`) {
				t.Errorf("paging.next: got %s, want escaped slashes", a.body)
			}
		}
		want := s.server.URL + "/v23.0/17841400000000001/media?access_token=IGAA1&fields=id%2Ccaption&limit=25&after="
		if fmt.Sprint(sizes) != "[25 25 10]" || len(seen) != mediaCount || !strings.HasPrefix(urls[0], want) || !strings.HasPrefix(urls[1], want) {
			t.Errorf("got pages of %v items, want [25 25 10]; %d different items, want %d; paging.next: got %v, want URLs that begin with %s", sizes, len(seen), mediaCount, urls, want)
		}
		if backwards[0] != "" || !strings.HasPrefix(backwards[2], strings.TrimSuffix(want, "after=")+"before=") {
			t.Errorf("paging.previous of each page: got %v, want none for the first and a URL that begins with %s for the last",
				backwards, strings.TrimSuffix(want, "after=")+"before=")
		}
		back := s.get(t, strings.TrimPrefix(backwards[2], s.server.URL))
		if !strings.HasPrefix(back.body, `{"data":[{"id":"17900000000000025"`) || strings.Count(back.body, `"caption"`) != 25 {
			t.Errorf("the previous page: got %d %s, want the 25 items from 17900000000000025 on", back.status, back.body)
		}
	}
}

// The test also checks the sizes of pages whose limit or cursor is invalid or too large.
func TestPagingURLsUsePagingBaseAndTheBearerToken(t *testing.T) {
	s := newStandOf(t, Options{PagingBase: "https://graph.instagram.com"}, ServerOptions{})
	a := s.send(t, "GET", "/v22.0/17841400000000001/media?limit=2", nil, http.Header{"Authorization": {"Bearer IGAAinHeader"}})
	if want := `"next":"https:\/\/graph.instagram.com\/v22.0\/17841400000000001\/media?access_token=IGAAinHeader&limit=2&after=`; !strings.Contains(a.body, want) {
		t.Errorf("got %d %s, want a body with %q", a.status, a.body, want)
	}
	for _, q := range []string{"limit=1000&after=nonsense", "limit=-1", "before=" + cursor(mediaCount)} {
		var page struct{ Data []any }
		a := s.get(t, "/me/media?access_token=IGAA1&"+q)
		want := map[bool]int{true: mediaCount, false: defaultLimit}[strings.Contains(q, "1000")]
		if err := json.Unmarshal([]byte(a.body), &page); err != nil || len(page.Data) != want {
			t.Errorf("%s: got %d items (error %v), want %d", q, len(page.Data), err, want)
		}
	}
	if a := s.get(t, "/me/media?access_token=IGAA1&after="+cursor(mediaCount-1)); a.body != `{"data":[]}` {
		t.Errorf("after the last item: got %s, want no items", a.body)
	}
}

func TestReadsAndWritesNeedAValidTokenPathAndMethod(t *testing.T) {
	s := newStand(t, ServerOptions{})
	wantCode(t, "no token", s.get(t, "/me"), 400, 2500, 0)
	wantCode(t, "no bearer token", s.send(t, "GET", "/me", nil, http.Header{"Authorization": {"Basic IGAA1"}}), 400, 2500, 0)
	for _, token := range []string{"x", "17", "client_secret"} {
		wantCode(t, token, s.get(t, "/me?access_token="+token), 400, 190, 0)
		wantCode(t, token, s.post(t, "/me/media?access_token="+token, urlencoded, ""), 400, 190, 0)
	}
	for _, path := range []string{"/", "/you", "/me/x", "/me/media/x", "/me/", "/17a", "/oauth/authorize", "/v23.0/oauth/x", "/ME"} {
		wantCode(t, path, s.get(t, path+"?access_token=IGAA1"), 500, 2500, 0)
	}
	wantCode(t, "wrong method", s.send(t, "PUT", "/me/media?access_token=IGAA1", nil, nil), 400, 100, 0)
	wantCode(t, "a fault", s.get(t, "/me?access_token=down-1"), 500, 2, 0)
	wantCode(t, "a fault in a write", s.post(t, "/me/media", urlencoded, "access_token=permission-1"), 403, 10, 0)
	for _, name := range []string{"slow", "extra", "noexpires", "huge", "flaky500", "flaky500"} {
		if a := s.get(t, "/me/media?access_token="+name+"-1"); name != "flaky500" && (a.status != 200 || !json.Valid([]byte(a.body))) {
			t.Errorf("%s: got %d %.200s, want 200 with JSON", name, a.status, a.body)
		}
	}
}

func TestWritesTakeTheTokenFromQueryFormOrHeader(t *testing.T) {
	s := newStand(t, ServerOptions{})
	const made, done = `{"id":"17900000000000060"}`, `{"success":true}`
	for _, c := range []struct {
		method, target, contentType, body, bearer, want string
	}{
		{"POST", "/me/media", urlencoded, "image_url=https%3A%2F%2Fx%2Fy.jpg&access_token=IGAA1", "", made},
		{"POST", "/v23.0/17841400000000001/media", "application/json", `{"image_url":"https://x/y.jpg","access_token":"IGAA1","n":1}`, "", made},
		{"POST", "/me/media_publish?access_token=IGAA1", "application/json", `{"creation_id":"17"}`, "", made},
		{"POST", "/me/media", "video/mp4", "\x00\x01\xff", "IGAA1", made},
		{"POST", "/me/media?access_token=IGAA1", "application/json", `{`, "", made},
		{"POST", "/17900000000000007?access_token=IGAA1", urlencoded, "comment_enabled=true", "", done},
		{"DELETE", "/17900000000000007?access_token=IGAA1", "", "", "", done},
		{"POST", "/me/threads?access_token=THAA1", urlencoded, "text=x", "", made},
	} {
		s.Reset()
		h := http.Header{"Content-Type": {c.contentType}}
		if c.bearer != "" {
			h.Set("Authorization", "Bearer "+c.bearer)
		}
		a := s.send(t, c.method, c.target, strings.NewReader(c.body), h)
		writes := s.CallsTo("write") + s.CallsTo("threads_write")
		if a.status != 200 || a.body != c.want || writes != 1 || s.currentCounters().stats().BodyBytes != int64(len(c.body)) {
			t.Errorf("%s %s: got %d %s (error %v), want 200 %s; %d writes, want 1; %d bytes of bodies, want %d", c.method, c.target, a.status, a.body, a.err, c.want,
				writes, s.currentCounters().stats().BodyBytes, len(c.body))
		}
		if s.CallsFor("IGAA1")+s.CallsFor("THAA1") != 1 || len(s.Strange()) != 0 {
			t.Errorf("%s: %d calls with the token, want 1; strange %v, want none", c.target, s.CallsFor("IGAA1")+s.CallsFor("THAA1"), s.Strange())
		}
	}
}

func TestStrangePassthroughCallsAreListed(t *testing.T) {
	s := newStand(t, ServerOptions{})
	for _, c := range []struct {
		method, target, body, want string
		header                     http.Header
	}{
		{"GET", "/me?client_secret=" + testSecret, "", "parameter client_secret", nil},
		{"POST", "/me/media", url.Values{"client_secret": {testSecret}}.Encode(), "parameter client_secret", nil},
		{"GET", "/me", "", "header Authorization", http.Header{"Authorization": {"Basic eDp5"}}},
		{"GET", "/me", "", "header Forwarded, header Via, header X-Forwarded-For", http.Header{"Via": {"1.1 x"}, "X-Forwarded-For": {"::1"}, "Forwarded": {"for=x"}}},
		{"PUT", "/me", "", "method", nil},
		{"GET", "/me?x=%zz", "", "malformed query", nil},
		{"GET", "/me?anything=x", "", "", http.Header{"Authorization": {"bearer IGAA1"}, "Cookie": {"a=b"}, "Referer": {"https://x/"}}},
	} {
		s.Reset()
		h := c.header.Clone()
		if h == nil {
			h = http.Header{}
		}
		h.Set("Content-Type", urlencoded)
		a := s.send(t, c.method, c.target, strings.NewReader(c.body), h)
		if got := strings.Join(s.Strange(), "; "); a.err != nil || got != c.want {
			t.Errorf("%s %s: strange: got %q (error %v), want %q", c.method, c.target, got, a.err, c.want)
		}
	}
}
