package proxy

import (
	"fmt"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/breaker"
)

// Most responses with a 4xx status and a web page are refusals: they keep their status and do not
// count as failures. 408, 425 and 429 are failures, because they mean "try later".
func TestMost4xxAreRefusals(t *testing.T) {
	for _, form := range []bool{false, true} {
		w := newWorld(t)
		n := 0
		ask := func(status int, body string) (code int, text string) {
			n++
			if form {
				w.login.say(status, body)
				r := w.post("/oauth/access_token", codeForm(fmt.Sprint("code", n)))
				return r.Code, r.Body.String()
			}
			w.graph.say(status, body)
			r := w.get(target(fmt.Sprint("IGAA", n)))
			return r.Code, r.Body.String()
		}
		for _, status := range []int{400, 401, 402, 404, 405, 406, 407, 409, 410, 415, 420, 422, 426, 431, 451, 499} {
			if got, text := ask(status, "<html>"); got != status || !strings.Contains(text, `"error_subcode":990025,"is_transient":false`) {
				t.Errorf("a page with status %d, code exchange: %v: got %d %s, want %d and 990025", status, form, got, text, status)
			}
		}
		which := map[bool]string{false: upstreamGraph, true: upstreamLogin}[form]
		if state := w.p.carried.circuits.worst(which); state != breaker.Closed { // five failures open a breaker
			t.Errorf("the breaker of %s is %s, want closed", which, state)
		}
		for _, status := range []int{408, 425, 429} {
			if got, text := ask(status, "<html>"); got != 502 || !strings.Contains(text, `"error_subcode":990024,"is_transient":true`) {
				t.Errorf("a page with status %d, code exchange: %v: got %d %s, want 502 and 990024", status, form, got, text)
			}
		}
	}
}
