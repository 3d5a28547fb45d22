package admin

import (
	"crypto/sha256"
	_ "embed" // the page's three parts
	"encoding/base64"
	"net/http"
	"strings"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// page is the status page, complete in one reply: it requests only /status.
type page struct{ text, policy string }

// newPage assembles the page. The policy allows only its own style and script, by their hashes, so
// that nothing injected runs.
func newPage() page {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
	}
	return page{
		text: strings.NewReplacer("{{style}}", pageStyle, "{{script}}", pageScript).Replace(pageHTML),
		policy: "default-src 'none'; style-src " + hash(pageStyle) + "; script-src " + hash(pageScript) +
			"; img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
	}
}

func (p page) serve(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write([]byte(p.text))
}
