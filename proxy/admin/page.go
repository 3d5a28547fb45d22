package admin

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page's three parts
	"encoding/base64"
	"html/template"
	"net/http"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageStyle string

//go:embed page.js
var pageScript string

// pageTemplate escapes every value, except the style and the script, for its place in the page.
var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// pagePolicy allows only the page's own style and script, by their hashes, so that an injected
// script does not run. It lets the page's script fetch the page again, from the same origin.
var pagePolicy = "default-src 'none'; style-src " + hashOf(pageStyle) + "; script-src " + hashOf(pageScript) +
	"; img-src data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

func hashOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// servePage serves the status page. The page has all its content without its script. The script
// refreshes the page, filters the settings, and describes the chosen column of the charts.
func (h *Handler) servePage(w http.ResponseWriter, _ *http.Request) {
	var text bytes.Buffer
	if err := pageTemplate.Execute(&text, viewOf(h.status(h.current.Load().about))); err != nil {
		http.Error(w, "the page could not be built: "+err.Error(), http.StatusInternalServerError)
		return
	}
	head := w.Header()
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Security-Policy", pagePolicy)
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Opener-Policy", "same-origin")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, _ = w.Write(text.Bytes())
}
