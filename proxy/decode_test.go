package proxy

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

const testSecret = "0123456789abcdef0123456789abcdef"

// testEngine returns an engine that decodes calls. It has no steps after decode.
func testEngine(t testing.TB) *engine {
	t.Helper()
	meta := &url.URL{Scheme: "https", Host: "graph.instagram.com"}
	o := Options{Apps: []App{{Secret: NewSecret(testSecret)}}, UpstreamURL: meta, LoginURL: meta, TTL: time.Hour}
	table := grants(o)
	apps, err := newApps(o, table, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range apps {
		a.state.secrets.use(a.secrets)
	}
	return &engine{apps: apps, grants: table, gate: newGate(nil, false)}
}

// decoded runs route and decode, as requestState.serve does.
func decoded(e *engine, r *http.Request) (call, *graph.Error) {
	to := e.route(r)
	if len(to.rows) == 0 {
		return call{}, errPath
	}
	return e.decode(r, to)
}

func get(target string) *http.Request { return httptest.NewRequest(http.MethodGet, target, nil) }

func TestDecodeAcceptsRealClients(t *testing.T) {
	const token = "IGAAshort-lived_token.1|2"
	e := testEngine(t)
	for name, r := range map[string]*http.Request{
		"as documented":            get("/access_token?grant_type=ig_exchange_token&client_secret=S&access_token=" + token),
		"without a secret":         get("/access_token?grant_type=ig_exchange_token&access_token=" + token),
		"any order, empty pairs":   get("/access_token?access_token=" + token + "&&client_secret=S&&grant_type=ig_exchange_token&"),
		"versioned":                get("/v23.0/access_token?grant_type=ig_exchange_token&access_token=" + token),
		"trailing slash":           get("/access_token/?grant_type=ig_exchange_token&access_token=" + token),
		"versioned trailing slash": get("/v22.0/access_token/?grant_type=ig_exchange_token&access_token=" + token),
		"percent-encoded":          get("/access_token?grant_type=ig%5Fexchange%5Ftoken&access%5Ftoken=" + url.QueryEscape(token)),
		"unknown names dropped":    get("/access_token?grant_type=ig_exchange_token&client_id=1&format=json&format=xml&fields=a&appsecret_proof=x&access_token=" + token),
		"content type":             with(get("/access_token?grant_type=ig_exchange_token&access_token="+token), "Content-Type", "application/json"),
		"bearer":                   with(get("/access_token?grant_type=ig_exchange_token"), "Authorization", "bearer  "+token),
		"query and same bearer":    with(get("/access_token?grant_type=ig_exchange_token&access_token="+token), "Authorization", "Bearer "+token),
		"query and Basic":          with(get("/access_token?grant_type=ig_exchange_token&access_token="+token), "Authorization", "Basic Zm9v"),
	} {
		c, refused := decoded(e, r)
		if refused != nil {
			t.Errorf("%s: got the refusal %q, want no refusal", name, refused.Message)
			continue
		}
		if c.token.Reveal() != token || c.grant.name != "exchange" {
			t.Errorf("%s: got the grant %s and the token %q, want exchange and %q", name, c.grant.name, c.token.Reveal(), token)
		}
	}
}

func with(r *http.Request, name, value string) *http.Request {
	r.Header.Add(name, value)
	return r
}

func TestDecodeRefusesMalformedRequests(t *testing.T) {
	const ok = "/access_token?grant_type=ig_exchange_token&access_token=IGAAtoken"
	fragment := get(ok)
	fragment.URL.RawQuery += "#_" // net/http leaves a fragment in the query
	e := testEngine(t)
	for name, c := range map[string]struct {
		r       *http.Request
		status  int
		code    int
		subcode int
	}{
		"put":                          {httptest.NewRequest(http.MethodPut, ok, nil), 400, 100, 990001},
		"head":                         {httptest.NewRequest(http.MethodHead, ok, nil), 400, 100, 990001},
		"strange method":               {httptest.NewRequest("FETCH", ok, nil), 400, 100, 990001},
		"root":                         {get("/"), 404, 2500, 990002},
		"other path":                   {get("/me?fields=id"), 404, 2500, 990002},
		"encoded path":                 {get("/access%5Ftoken?grant_type=ig_exchange_token&access_token=t"), 404, 2500, 990002},
		"dot segments":                 {get("/x/../access_token?grant_type=ig_exchange_token&access_token=t"), 404, 2500, 990002},
		"double slash":                 {get("//access_token"), 404, 2500, 990002},
		"upper case":                   {get("/ACCESS_TOKEN"), 404, 2500, 990002},
		"a version without digits":     {get("/v/access_token"), 404, 2500, 990002},
		"version in letters":           {get("/vx.y/access_token"), 404, 2500, 990002},
		"two versions":                 {get("/v1.0/v2.0/access_token"), 404, 2500, 990002},
		"bad escape":                   {get("/access_token?grant_type=ig_exchange_token&access_token=t&x=%zz"), 400, 100, 990007},
		"raw fragment":                 {fragment, 400, 100, 990007},
		"no grant type":                {get("/access_token?access_token=IGAAtoken"), 400, 100, 990008},
		"two grant types":              {get(ok + "&grant_type=ig_exchange_token"), 400, 100, 990008},
		"grant type of another path":   {get("/access_token?grant_type=ig_refresh_token&access_token=t"), 400, 100, 990008},
		"array grant type":             {get("/access_token?grant_type[]=ig_exchange_token&access_token=t"), 400, 100, 990007},
		"no token":                     {get("/access_token?grant_type=ig_exchange_token"), 400, 2500, 990009},
		"empty token":                  {get("/access_token?grant_type=ig_exchange_token&access_token="), 400, 2500, 990009},
		"two tokens":                   {get(ok + "&access_token=other"), 400, 100, 990010},
		"two tokens, one name encoded": {get(ok + "&access%5Ftoken=other"), 400, 100, 990010},
		"array token":                  {get("/access_token?grant_type=ig_exchange_token&access_token[0]=t"), 400, 100, 990007},
		"encoded array token":          {get("/access_token?grant_type=ig_exchange_token&access_token%5B%5D=t"), 400, 100, 990007},
		"raw plus":                     {get("/access_token?grant_type=ig_exchange_token&access_token=a+b"), 400, 100, 990011},
		"control character":            {get("/access_token?grant_type=ig_exchange_token&access_token=a%0d%0ab"), 400, 100, 990011},
		"nul":                          {get("/access_token?grant_type=ig_exchange_token&access_token=a%00"), 400, 100, 990011},
		"not ascii":                    {get("/access_token?grant_type=ig_exchange_token&access_token=%C3%A9"), 400, 100, 990011},
		"long token":                   {get("/access_token?grant_type=ig_exchange_token&access_token=" + strings.Repeat("a", graph.MaxToken+1)), 400, 100, 990012},
		"two bearers":                  {with(with(get("/access_token?grant_type=ig_exchange_token"), "Authorization", "Bearer a"), "Authorization", "Bearer b"), 400, 100, 990010},
		"query and another bearer":     {with(get(ok), "Authorization", "Bearer other"), 400, 100, 990010},
		"query, Basic, another bearer": {with(with(get(ok), "Authorization", "Basic YTpi"), "Authorization", "bearer other"), 400, 100, 990010},
		"array and plain":              {get(ok + "&access_token[]=other"), 400, 100, 990007},
		"array client id":              {get(ok + "&client_id[x]=1"), 400, 100, 990007},
		"two client ids":               {get(ok + "&client_id=1&client_id=2"), 400, 100, 990010},
		"one client id, twice":         {get(ok + "&client_id=1&client%5fid=1"), 400, 100, 990010},
		"basic only":                   {with(get("/access_token?grant_type=ig_exchange_token"), "Authorization", "Basic YTpi"), 400, 2500, 990009},
		"bearer with controls":         {with(get("/access_token?grant_type=ig_exchange_token"), "Authorization", "Bearer a\tb"), 400, 100, 990011},
	} {
		_, refused := decoded(e, c.r)
		if refused == nil {
			t.Errorf("%s: got no refusal, want the status %d and the error %d/%d", name, c.status, c.code, c.subcode)
			continue
		}
		if refused.Status != c.status || refused.Code != c.code || refused.Subcode != c.subcode {
			t.Errorf("%s: got the status %d and the error %d/%d, want the status %d and the error %d/%d", name, refused.Status, refused.Code, refused.Subcode, c.status, c.code, c.subcode)
		}
	}
}

func TestForeignHostsAndCallsFromWebPagesAreRefused(t *testing.T) {
	const target = "/access_token?grant_type=ig_exchange_token&access_token=t"
	at := func(host string) *http.Request {
		r := get(target)
		r.Host = host
		return r
	}
	local := at("127.0.0.1:8080")
	strict, open := newGate([]string{"igproxy.internal", "[2001:db8::1]"}, false), newGate(nil, true)
	absolute := httptest.NewRequest(http.MethodGet, "http://graph.instagram.com"+target, nil)
	ours := httptest.NewRequest(http.MethodGet, "http://[::1]:8080"+target, nil)
	secure := func(target string) *http.Request { // returns a request that arrived over TLS
		r := httptest.NewRequest(http.MethodGet, target, nil)
		r.TLS = &tls.ConnectionState{}
		return r
	}
	plain := secure("https://localhost" + target)
	plain.TLS = nil
	connect := httptest.NewRequest(http.MethodConnect, "graph.instagram.com:443", nil)
	for name, c := range map[string]struct {
		gate gate
		r    *http.Request
		want *graph.Error
	}{
		"loopback":               {strict, local, nil},
		"other loopback":         {strict, at("127.9.9.9"), nil},
		"ipv6 loopback":          {strict, at("[::1]:8080"), nil},
		"localhost":              {strict, at("LocalHost:8080"), nil},
		"allowed":                {strict, at("IGPROXY.internal:80"), nil},
		"allowed ipv6":           {strict, at("[2001:db8::1]:80"), nil},
		"rebound name":           {strict, at("evil.example:8080"), errHost},
		"localhost lookalike":    {strict, at("localhost.evil.example"), errHost},
		"no host":                {strict, at(""), errHost},
		"not a loopback address": {strict, at("10.0.0.1"), errHost},
		"any host":               {open, at("evil.example"), nil},
		"origin":                 {open, with(with(at("127.0.0.1"), "Origin", "https://evil.example"), "Sec-Fetch-Dest", "empty"), errBrowser},
		"null origin":            {open, with(at("127.0.0.1"), "Origin", "null"), errBrowser},
		"cross-site":             {open, with(at("127.0.0.1"), "Sec-Fetch-Site", "cross-site"), errBrowser},
		"same-site":              {open, with(at("127.0.0.1"), "Sec-Fetch-Site", "same-site"), errBrowser},
		"address bar":            {open, with(at("127.0.0.1"), "Sec-Fetch-Site", "none"), nil},
		"node's fetch":           {strict, with(with(at("127.0.0.1:1"), "Sec-Fetch-Mode", "cors"), "Accept-Language", "*"), nil},
		"absolute form":          {open, absolute, errProxyRequest},
		"absolute, served":       {strict, ours, nil},
		"absolute, with user":    {strict, httptest.NewRequest(http.MethodGet, "http://u@localhost"+target, nil), errProxyRequest},
		"absolute, over tls":     {strict, secure("https://localhost" + target), nil},
		"https, not over tls":    {strict, plain, errProxyRequest},
		"http, over tls":         {strict, secure("http://localhost" + target), errProxyRequest},
		"foreign, over tls":      {strict, secure("https://graph.instagram.com" + target), errProxyRequest},
		"empty port":             {strict, at("localhost:"), nil},
		"port with letters":      {strict, at("127.0.0.1:80.evil.example"), errHost},
		"port too high":          {strict, at("127.0.0.1:65536"), errHost},
		"open bracket":           {strict, at("[::1"), errHost},
		"two brackets":           {strict, at("[[::1]]"), errHost},
		"name in brackets":       {strict, at("[localhost]"), errHost},
		"no brackets":            {strict, at("::1"), errHost},
		"tail after brackets":    {strict, at("[::1]80"), errHost},
		"connect":                {open, connect, errProxyRequest},
	} {
		if got := c.gate.check(c.r); got != c.want {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// FuzzDecode checks that no query makes decode panic, and that an error is a 4xx with a message. If
// decode accepts a query that net/url can parse, net/url must find exactly one grant_type in it and
// at most one access_token, the accepted token. If the accepted token comes from Authorization, the
// query may lack an access_token.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "&&", "grant_type=ig_exchange_token&access_token=IGAA", "grant_type=ig_exchange_token&access_token=a&access_token=b",
		"access%5ftoken=%41&grant_type=ig_exchange_token", "access_token[]=1", "a=%", "grant_type=ig_exchange_token;access_token=x", "=&=", "access_token=a+b"} {
		f.Add(seed, "Bearer x")
	}
	e := testEngine(f)
	f.Fuzz(func(t *testing.T, raw, authorization string) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/access_token", RawQuery: raw}, Header: http.Header{}}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
		}
		c, refused := decoded(e, r)
		if refused != nil {
			if refused.Status < 400 || refused.Status > 499 || refused.Message == "" {
				t.Fatalf("refused with %v, want a 4xx with a message", refused)
			}
			return
		}
		token := c.token.Reveal()
		if token == "" || len(token) > graph.MaxToken || !graph.IsPrintable(token) {
			t.Fatalf("accepted the token %q, want 1 to %d printable characters", token, graph.MaxToken)
		}
		if values, err := url.ParseQuery(raw); err == nil {
			if v := values["access_token"]; len(v) > 1 || len(v) == 1 && v[0] != token || len(values["grant_type"]) != 1 {
				t.Fatalf("decode accepted the token %q, but net/url finds %q in the query %q; want one grant_type, and at most one access_token, which is the accepted token", token, values, raw)
			}
		}
	})
}
