package admin_test

import (
	"regexp"
	"strings"
	"testing"
)

// The page may use only its own style, its own script and its own origin: nothing from elsewhere,
// and no style or script in an attribute.
func TestThePageIsCompleteAndItsPolicyStrict(t *testing.T) {
	w := get(handlerOf(t, newProxy(t, optionsFor(t, nowhere))), "/")
	text, policy := w.Body.String(), w.Header().Get("Content-Security-Policy")
	if w.Header().Get("Content-Type") != "text/html; charset=utf-8" || strings.Contains(text, "{{") {
		t.Errorf("headers %v, or a placeholder was not replaced", w.Header())
	}
	directives := map[string]string{}
	for d := range strings.SplitSeq(policy, "; ") {
		name, value, _ := strings.Cut(d, " ")
		directives[name] = value
	}
	for name, want := range map[string]string{"default-src": "'none'", "connect-src": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'", "form-action": "'none'", "img-src": "data:"} {
		if directives[name] != want {
			t.Errorf("%s is %q, want %q", name, directives[name], want)
		}
	}
	for _, name := range []string{"script-src", "style-src"} {
		if !regexp.MustCompile(`^'sha256-[A-Za-z0-9+/]{43}='$`).MatchString(directives[name]) {
			t.Errorf("%s is %q, want one hash", name, directives[name])
		}
	}
	if strings.Contains(policy, "unsafe") {
		t.Errorf("the policy is %q", policy)
	}
	for _, never := range []string{`\son[a-z]+="`, `\sstyle="`, `<script[^>]+src`, `<link[^>]+stylesheet`, `@import`, `url\(`, `innerHTML`, `https?://[^w]`} {
		if found := regexp.MustCompile(never).FindString(text); found != "" {
			t.Errorf("%q is in the page", found)
		}
	}
}
