package graph_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/igproxy/igproxy/proxy/graph"
)

// responseBody returns the body of a response with the token, as package proxy writes it.
func responseBody(tok graph.Token, now time.Time) []byte {
	head, tail := tok.Parts()
	if len(tail) == 0 {
		return head
	}
	return fmt.Appendf(nil, "%s%d%s", head, int64(tok.Expires.Sub(now)/time.Second), tail)
}

func TestTokenResponseHasInstagramsOrderAndTheTimeLeft(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tok, err := graph.ReadToken([]byte("  {\"expires_in\": 5183944 ,\"token_type\":\"bearer\",\n\"access_token\":\"IGAAlong\"}\n"), now)
	if err != nil {
		t.Fatal(err)
	}
	got := string(responseBody(tok, now.Add(90*time.Minute+time.Millisecond)))
	if want := `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5178543}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUnknownMembersSurviveByteForByte(t *testing.T) {
	extra := `"user_id":17841400000000001,"permissions":[ "a" ,"b\u0041"],"nested":{"x" : 1e400,"<&>":"<é>"}`
	tok, err := graph.ReadToken([]byte(`{"access_token":"t","token_type":"bearer","expires_in":60,`+extra+`}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := string(responseBody(tok, time.Now())); !strings.HasSuffix(got, ","+extra+"}") {
		t.Errorf("got %s, want %s at the end", got, extra)
	}
}

func TestMalformedTokenResponsesAreRefused(t *testing.T) {
	for body, want := range map[string]error{
		``:                                      graph.ErrNotJSON,
		`null`:                                  graph.ErrNotJSON,
		`[]`:                                    graph.ErrNotJSON,
		`"IGAA"`:                                graph.ErrNotJSON,
		`{"access_token":"t","expires_in":60`:   graph.ErrNotJSON,
		`{"access_token":"t","expires_in":60}x`: graph.ErrNotJSON,
		`{"access_token":"t","expires_in":60}{"access_token":"u","expires_in":60}`: graph.ErrNotJSON,
		`<html>`:                                                                       graph.ErrNotJSON,
		`{}`:                                                                           graph.ErrNoTokenIn,
		`{"access_token":"","expires_in":60}`:                                          graph.ErrNoTokenIn,
		`{"access_token":null,"expires_in":60}`:                                        graph.ErrNoTokenIn,
		`{"access_token":7,"expires_in":60}`:                                           graph.ErrNoTokenIn,
		`{"access_token":"a b","expires_in":60}`:                                       graph.ErrNoTokenIn,
		`{"access_token":"a\u0000","expires_in":60}`:                                   graph.ErrNoTokenIn,
		`{"access_token":"t"}`:                                                         graph.ErrBadExpires,
		`{"access_token":"t","expires_in":0}`:                                          graph.ErrBadExpires,
		`{"access_token":"t","expires_in":-5}`:                                         graph.ErrBadExpires,
		`{"access_token":"t","expires_in":"60"}`:                                       graph.ErrBadExpires,
		`{"access_token":"t","expires_in":60.5}`:                                       graph.ErrBadExpires,
		`{"access_token":"t","expires_in":6e1}`:                                        graph.ErrBadExpires,
		`{"access_token":"t","expires_in":99999999999999999999}`:                       graph.ErrBadExpires,
		`{"access_token":"t","expires_in":9223372036854775807}`:                        graph.ErrBadExpires,
		`{"access_token":"t","expires_in":null}`:                                       graph.ErrBadExpires,
		`{"access_token":"t","expires_in":60,"token_type":1}`:                          graph.ErrBadType,
		`{"access_token":"t","expires_in":60,"access_token":"u"}`:                      graph.ErrDuplicate,
		`{"access_token":"t","expires_in":60,"access\u005ftoken":"u"}`:                 graph.ErrDuplicate,
		`{"access_token":"t","expires_in":60,"x":1,"x":1}`:                             graph.ErrDuplicate,
		`{"access_token":"t","expires_in":60,"error":{"code":190}}`:                    graph.ErrErrorMember,
		`{"error":{"message":"m","type":"OAuthException","code":190}}`:                 graph.ErrErrorMember,
		`{"access_token":"t","expires_in":60,"x":` + strings.Repeat("[", 20000):        graph.ErrNotJSON,
		`{"access_token":"t","expires_in":60` + smallMembers(graph.MaxMembers-1) + `}`: graph.ErrTooMany,
		`{"access_token":"t","expires_in":60,"X":1,"X":1,"ACCESS_TOKEN":1}`:            graph.ErrDuplicate,
		`{"access_token":"t","expires_in":60,"ACCESS_TOKEN":1,"ACCESS_TOKEN":1}`:       graph.ErrDuplicate,
		`{"ACCESS_TOKEN":"t","expires_in":60}`:                                         graph.ErrNoTokenIn,
	} {
		if _, err := graph.ReadToken([]byte(body), time.Now()); !errors.Is(err, want) {
			t.Errorf("%.80s: got %v, want %v", body, err, want)
		}
	}
}

// written returns a function that turns a token into its JSON, or an error into its text.
func written(now time.Time) func(graph.Token, error) string {
	return func(tok graph.Token, err error) string {
		if err != nil {
			return err.Error()
		}
		return string(responseBody(tok, now))
	}
}

// smallMembers returns n different members, each after a comma.
func smallMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return b.String()
}

func TestTheMaximumNumberOfMembersIsAccepted(t *testing.T) {
	extra, now := smallMembers(graph.MaxMembers-2), time.Now()
	if got := written(now)(graph.ReadToken([]byte(`{"access_token":"t","expires_in":60`+extra+`}`), now)); !strings.HasSuffix(got, extra+"}") {
		t.Errorf("%d members: got %.200s, want all members", graph.MaxMembers, got)
	}
}

// Comparing each name with all others, as an earlier version did, took 13 seconds.
func TestAMebibyteOfSmallMembersIsRefusedEarly(t *testing.T) {
	body := []byte(`{"access_token":"t","expires_in":60` + smallMembers(100_000) + `}`)
	start := time.Now()
	if _, err := graph.ReadToken(body, start); !errors.Is(err, graph.ErrTooMany) {
		t.Errorf("got %v, want %v", err, graph.ErrTooMany)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("%d bytes took %s, want at most 1s", len(body), took)
	}
}

// An app whose JSON decoder ignores case must read access_token itself, and not a lookalike such as
// ACCESS_TOKEN.
func TestMembersThatDifferFromAKnownMemberOnlyByCaseAreDropped(t *testing.T) {
	now := time.Now()
	const good = `{"access_token":"t","token_type":"bearer","expires_in":60}`
	for _, extra := range []string{`"ACCESS_TOKEN":"u"`, `"Access_Token":7`, `"acceſſ_token":"u"`, `"acce\u017f\u017f_to\u212aen":"u"`, `"acceſs_toKen":"u"`,
		`"Token_Type":"mac"`, `"toKen_type":"mac"`, `"EXPIRES_IN":1`, `"expireſ_in":1`, `"Error":{"code":190}`, `"User_Id":"7"`, `"ACCESS_TOKEN":"u","Access_token":"v"`} {
		for name, body := range map[string]string{
			"after":  `{"access_token":"t","token_type":"bearer","expires_in":60,` + extra + `}`,
			"before": `{` + extra + `,"access_token":"t","token_type":"bearer","expires_in":60}`,
		} {
			if got := written(now)(graph.ReadToken([]byte(body), now)); got != good {
				t.Errorf("with %s %s the known members: got %s, want %s", extra, name, got, good)
			}
		}
	}
	const code = `{"access_token":"t","user_id":1,"token_type":"bearer","data":[{"access_token":"t","user_id":1}]}`
	for _, body := range []string{
		`{"access_token":"t","user_id":1,"ACCESS_TOKEN":"u","User_ID":2,"Data":[{"access_token":"u"}],"Token_type":"mac","CODE":400,"Permissions":[],"Error_Type":"x","Error_Message":"x"}`,
		`{"data":[{"access_token":"t","user_id":1}],"DATA":[{"access_token":"u"}]}`,
		`{"data":[{"Access_Token":"u","access_token":"t","uſer_id":2,"user_id":1,"Data":[]}]}`,
	} {
		if got := written(now)(graph.ReadCode([]byte(body), now)); got != code {
			t.Errorf("%s: got %s, want %s", body, got, code)
		}
	}
	// Only names that differ from a known name by letter case are dropped, so igproxy keeps these.
	for _, extra := range []string{`"access-token":"u"`, `"AccessToken":"u"`, `"expires":1`, `"X":1,"x":2`, `"ſ":1`} {
		if got := written(now)(graph.ReadToken([]byte(`{"access_token":"t","expires_in":60,`+extra+`}`), now)); !strings.HasSuffix(got, ","+extra+"}") {
			t.Errorf("with %s: got %s, want this member at the end", extra, got)
		}
	}
}

// readsTheSame checks that an app whose JSON decoder ignores case reads the same values from an
// object as an app whose decoder respects case.
func readsTheSame(t *testing.T, object []byte) {
	t.Helper()
	var loose struct {
		AccessToken json.RawMessage `json:"access_token"`
		TokenType   json.RawMessage `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	var exact map[string]json.RawMessage
	if json.Unmarshal(object, &loose) != nil || json.Unmarshal(object, &exact) != nil {
		t.Fatalf("not a JSON object: %s", object)
	}
	for name, value := range map[string]json.RawMessage{"access_token": loose.AccessToken, "token_type": loose.TokenType, "expires_in": loose.ExpiresIn} {
		if !bytes.Equal(value, exact[name]) {
			t.Fatalf("%s: an app that ignores case reads %s, want %s, in %s", name, value, exact[name], object)
		}
	}
}

// FuzzUpstreamResponse checks that no response from Meta causes a panic. The object that igproxy
// makes of an accepted response must have a token, and must pass readsTheSame. An encoded error
// must be valid JSON without the client secret.
func FuzzUpstreamResponse(f *testing.F) {
	for _, seed := range []string{`{"access_token":"IGAA","token_type":"bearer","expires_in":5183944}`, `{"access_token":"a","expires_in":1,"é":"\ud800"}`,
		`{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":463,"fbtrace_id":"x"}}`, `[]`, `{"error":null}`, "\xff",
		`{"access_token":"a","expires_in":1,"ACCESS_TOKEN":"b","acceſs_toKen":"c","Expires_In":2}`, `{"TOKEN_TYPE":"mac","access_token":"a","expires_in":1}`,
		`{"data":[{"access_token":"a","user_id":"1","Access_Token":"b"}],"DATA":[]}`, `{"access_token":"a","user_id":1,"Data":[{"access_token":"b"}]}`} {
		f.Add(seed, 200)
	}
	scrub := strings.NewReplacer(testSecret, "[client secret]").Replace
	f.Fuzz(func(t *testing.T, body string, status int) {
		now := time.Unix(1_800_000_000, 0)
		if e, ok := graph.ReadError(status, []byte(body+testSecret), scrub); ok && bytes.Contains(e.Encode(), []byte(testSecret)) {
			t.Fatal("the encoded error contains the client secret")
		}
		if e, ok := graph.ReadError(status, []byte(body), scrub); ok && !json.Valid(e.Encode()) {
			t.Fatalf("the encoded error is not JSON: %s", e.Encode())
		}
		if tok, err := graph.ReadCode([]byte(body), now); err == nil {
			var inside struct {
				Data []json.RawMessage `json:"data"`
			}
			got := responseBody(tok, now)
			readsTheSame(t, got)
			if err := json.Unmarshal(got, &inside); err != nil || len(inside.Data) != 1 {
				t.Fatalf("got %s and the error %v, want a list with one element in data", got, err)
			}
			readsTheSame(t, inside.Data[0])
		}
		tok, err := graph.ReadToken([]byte(body), now)
		if err != nil {
			return
		}
		got := responseBody(tok, now)
		readsTheSame(t, got)
		var parsed struct {
			AccessToken string `json:"access_token"`
			ExpiresIn   int64  `json:"expires_in"`
		}
		if err := json.Unmarshal(got, &parsed); err != nil || parsed.AccessToken == "" || parsed.ExpiresIn < 1 {
			t.Fatalf("got %s and the error %v, want a token and an expires_in of at least 1", got, err)
		}
	})
}

func TestAccessReturnsTheToken(t *testing.T) {
	for _, access := range []string{"IGAAlong", `quote"back\slash<&>|`, strings.Repeat("x", graph.MaxToken)} {
		body, _ := json.Marshal(map[string]any{"z": `"access_token":"other"`, "access_token": access, "expires_in": 100})
		token, err := graph.ReadToken(body, time.Now())
		if err != nil || token.Access() != access {
			t.Errorf("got the token %q, want %q; got the error %v, want nil", token.Access(), access, err)
		}
	}
	if got := graph.NewToken([]byte(`{"user_id":1}`), nil, time.Now()).Access(); got != "" {
		t.Errorf("without a token: got %q, want an empty string", got)
	}
}
