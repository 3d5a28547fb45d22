package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTokenIsAnsweredInInstagramsOrderWithTheTimeLeft(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	tok, err := decodeToken([]byte("  {\"expires_in\": 5183944 ,\"token_type\":\"bearer\",\n\"access_token\":\"IGAAlong\"}\n"), now)
	if err != nil {
		t.Fatal(err)
	}
	got := string(tok.append(nil, now.Add(90*time.Minute+time.Millisecond)))
	if want := `{"access_token":"IGAAlong","token_type":"bearer","expires_in":5178543}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestUnknownMembersSurviveByteForByte(t *testing.T) {
	extra := `"user_id":17841400000000001,"permissions":[ "a" ,"b\u0041"],"nested":{"x" : 1e400,"<&>":"<é>"}`
	tok, err := decodeToken([]byte(`{"access_token":"t","token_type":"bearer","expires_in":60,`+extra+`}`), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if got := string(tok.append(nil, time.Now())); !strings.HasSuffix(got, ","+extra+"}") {
		t.Errorf("got %s, want it to end with %s", got, extra)
	}
}

func TestNonsenseIsNoToken(t *testing.T) {
	for body, want := range map[string]error{
		``:                                      errNotJSON,
		`null`:                                  errNotJSON,
		`[]`:                                    errNotJSON,
		`"IGAA"`:                                errNotJSON,
		`{"access_token":"t","expires_in":60`:   errNotJSON,
		`{"access_token":"t","expires_in":60}x`: errNotJSON,
		`{"access_token":"t","expires_in":60}{"access_token":"u","expires_in":60}`: errNotJSON,
		`<html>`:                                                                errNotJSON,
		`{}`:                                                                    errNoTokenIn,
		`{"access_token":"","expires_in":60}`:                                   errNoTokenIn,
		`{"access_token":null,"expires_in":60}`:                                 errNoTokenIn,
		`{"access_token":7,"expires_in":60}`:                                    errNoTokenIn,
		`{"access_token":"a b","expires_in":60}`:                                errNoTokenIn,
		`{"access_token":"a\u0000","expires_in":60}`:                            errNoTokenIn,
		`{"access_token":"t"}`:                                                  errBadExpires,
		`{"access_token":"t","expires_in":0}`:                                   errBadExpires,
		`{"access_token":"t","expires_in":-5}`:                                  errBadExpires,
		`{"access_token":"t","expires_in":"60"}`:                                errBadExpires,
		`{"access_token":"t","expires_in":60.5}`:                                errBadExpires,
		`{"access_token":"t","expires_in":6e1}`:                                 errBadExpires,
		`{"access_token":"t","expires_in":99999999999999999999}`:                errBadExpires,
		`{"access_token":"t","expires_in":9223372036854775807}`:                 errBadExpires,
		`{"access_token":"t","expires_in":null}`:                                errBadExpires,
		`{"access_token":"t","expires_in":60,"token_type":1}`:                   errBadType,
		`{"access_token":"t","expires_in":60,"access_token":"u"}`:               errDuplicate,
		`{"access_token":"t","expires_in":60,"access\u005ftoken":"u"}`:          errDuplicate,
		`{"access_token":"t","expires_in":60,"x":1,"x":1}`:                      errDuplicate,
		`{"access_token":"t","expires_in":60,"error":{"code":190}}`:             errErrorMember,
		`{"error":{"message":"m","type":"OAuthException","code":190}}`:          errErrorMember,
		`{"access_token":"t","expires_in":60,"x":` + strings.Repeat("[", 20000): errNotJSON,
	} {
		if _, err := decodeToken([]byte(body), time.Now()); !errors.Is(err, want) {
			t.Errorf("%.80s: got %v, want %v", body, err, want)
		}
	}
}

// Whatever Instagram sends: no panic; and what is taken is answered as one JSON object with exactly one token, and opens again from
// its record to the same bytes.
func FuzzUpstreamReply(f *testing.F) {
	for _, seed := range []string{`{"access_token":"IGAA","token_type":"bearer","expires_in":5183944}`, `{"access_token":"a","expires_in":1,"é":"\ud800"}`,
		`{"error":{"message":"m","type":"OAuthException","code":190,"error_subcode":463,"fbtrace_id":"x"}}`, `[]`, `{"error":null}`, "\xff"} {
		f.Add(seed, 200)
	}
	scrub := strings.NewReplacer(testSecret, "[client secret]").Replace
	f.Fuzz(func(t *testing.T, body string, status int) {
		now := time.Unix(1_800_000_000, 0)
		if e, ok := decodeGraphError(status, []byte(body+testSecret), scrub); ok && bytes.Contains(e.encode(), []byte(testSecret)) {
			t.Fatal("the secret got through the scrubbing")
		}
		if e, ok := decodeGraphError(status, []byte(body), scrub); ok && !json.Valid(e.encode()) {
			t.Fatalf("not JSON: %s", e.encode())
		}
		tok, err := decodeToken([]byte(body), now)
		if err != nil {
			return
		}
		got := tok.append(nil, now)
		var parsed struct {
			AccessToken string `json:"access_token"`
			ExpiresIn   int64  `json:"expires_in"`
		}
		if err := json.Unmarshal(got, &parsed); err != nil || parsed.AccessToken == "" || parsed.ExpiresIn < 1 {
			t.Fatalf("answer is no token: %s (%v)", got, err)
		}
		back, err := decodeRecord(encodeRecord(answer{token: tok}), now)
		if tok.Expires.Sub(now) >= time.Second && err != nil {
			t.Fatalf("the record does not open: %v", err)
		}
		if err == nil && !bytes.Equal(back.token.append(nil, now), got) {
			t.Fatal("the record opens to something else")
		}
	})
}

func TestRecordsOpenToWhatWasRemembered(t *testing.T) {
	now := time.Now().Truncate(time.Millisecond)
	yes := true
	e := &GraphError{Status: 400, Message: "m", Type: "OAuthException", Code: 190, Subcode: 463, UserTitle: "t", UserMsg: "u", Transient: &yes,
		TraceID: "x", RetryAt: now.Add(time.Minute).UTC(), class: classToken}
	back, err := decodeRecord(encodeRecord(answer{refusal: e}), now)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(back.refusal.encode(), e.encode()) || !back.refusal.RetryAt.Equal(e.RetryAt) || back.refusal.class != classToken {
		t.Errorf("got %s, want %s", back.refusal.encode(), e.encode())
	}
	tok, _ := decodeToken([]byte(`{"access_token":"t","expires_in":60,"user_id":1}`), now)
	record := encodeRecord(answer{token: tok})
	if back, err = decodeRecord(record, now.Add(30*time.Second)); err != nil || !back.token.Expires.Equal(tok.Expires) {
		t.Errorf("got %v, %v; want the same token", back.token.Expires, err)
	}
	if _, err = decodeRecord(record, now.Add(60*time.Second)); err == nil {
		t.Error("a token past its end was served")
	}
}

func FuzzRecord(f *testing.F) {
	tok, _ := decodeToken([]byte(`{"access_token":"t","expires_in":60}`), time.Now())
	f.Add(encodeRecord(answer{token: tok}))
	f.Add(encodeRecord(answer{refusal: &GraphError{Status: 400, Code: 190}}))
	f.Add([]byte{tokenKind})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := decodeRecord(b, time.Unix(0, 0)); err == nil && a.refusal == nil {
			_ = a.token.append(nil, time.Unix(0, 0))
		}
	})
}
