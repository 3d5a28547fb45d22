package proxy

import (
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"

	"github.com/igproxy/igproxy/proxy/graph"
)

// subject is what a call exchanges, and how to say what is wrong with it.
type subject struct {
	param                                      param
	none, twice, blank, characters, long, kind *graph.Error
}

// The two subjects.
var (
	tokenSubject = newSubject(paramToken, "access token", errNoToken,
		"This call takes an access_token and no code. Exchange the code first: POST /oauth/access_token.")
	codeSubject = newSubject(paramCode, "code", requestError(http.StatusBadRequest, 100, subNoToken,
		"The parameter code is missing. Send the code of the redirect."),
		"This call takes a code and no access_token. Exchange a token with GET /access_token.")
)

func newSubject(p param, noun string, none *graph.Error, kind string) *subject {
	wrong := func(subcode int, message string) *graph.Error {
		return requestError(http.StatusBadRequest, 100, subcode, "The "+noun+message)
	}
	return &subject{
		param: p, none: none,
		twice:      wrong(subTwoTokens, " was sent more than once. Send it once."),
		blank:      wrong(subTokenCharacters, " has a blank. A raw + in a query arrives as a blank: percent-encode it as %2B."),
		characters: wrong(subTokenCharacters, " has characters that none has. Send it as Instagram gave it, percent-encoded."),
		long:       wrong(subLongToken, " is longer than 4096 bytes. Send it as Instagram gave it."),
		kind:       requestError(http.StatusBadRequest, 100, subKind, kind),
	}
}

// param is a parameter that is read. All others are passed over.
type param int

const (
	paramGrantType param = iota
	paramToken
	paramCode
	paramRedirect
	paramClientID
	paramCount
)

var paramNames = [paramCount]string{"grant_type", "access_token", "code", "redirect_uri", "client_id"}

// params is what is kept of a query or a form: how often each parameter came, and its last value.
type params struct {
	count [paramCount]int
	value [paramCount]string
	array bool // one came as name[] or name[0]
}

func (p *params) add(name, value string) {
	bare, _, array := strings.Cut(name, "[")
	for i, known := range paramNames {
		switch {
		case name == known:
			p.count[i], p.value[i] = p.count[i]+1, value
		case array && bare == known:
			p.array = true
		}
	}
}

// any reports whether one that is read was there at all.
func (p *params) any() bool { return p.count != [paramCount]int{} || p.array }

// readQuery walks a raw query without building a map. Empty pairs (Meta's own sample has one) and unknown names are passed over.
func readQuery(raw string) (p params, refused *graph.Error) {
	if strings.Contains(raw, "#") { // no request target has a fragment: RFC 9112, section 3.2
		return p, errFragment
	}
	return p, p.read(raw, errQuery)
}

func (p *params) read(raw string, malformed *graph.Error) *graph.Error {
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(name)
		if err != nil {
			return malformed
		}
		if value, err = url.QueryUnescape(value); err != nil {
			return malformed
		}
		p.add(name, value)
	}
	return nil
}

// maxForm bounds a form, in bytes: a code, a URI and some names.
const maxForm = 64 << 10

// readForm reads the body of a request: urlencoded as RFC 6749 has it, or multipart as Meta's documentation does with curl -F.
func readForm(r *http.Request) (p params, refused *graph.Error) {
	kind, options, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || len(r.Header["Content-Type"]) != 1 {
		return p, errFormType
	}
	body := io.LimitReader(r.Body, maxForm+1)
	switch kind {
	case "application/x-www-form-urlencoded":
		text, err := io.ReadAll(body)
		if err != nil || len(text) > maxForm {
			return p, errForm
		}
		return p, p.read(string(text), errForm)
	case "multipart/form-data":
		return p, p.readParts(multipart.NewReader(body, options["boundary"]))
	}
	return p, errFormType
}

func (p *params) readParts(parts *multipart.Reader) *graph.Error {
	for {
		part, err := parts.NextPart()
		if err == io.EOF {
			return nil
		}
		if err != nil || part.FileName() != "" {
			return errForm
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return errForm
		}
		p.add(part.FormName(), string(value))
	}
}

// grants picks the rows by grant_type among those of the path.
func (p *params) grants(rows, table []*grant) (fit []*grant, refused *graph.Error) {
	switch {
	case p.array:
		return nil, errArray
	case p.count[paramGrantType] == 0:
		return nil, errNoGrantType(rows)
	case p.count[paramGrantType] > 1:
		return nil, errTwoGrantTypes(rows)
	}
	for _, g := range rows {
		if g.grantType == p.value[paramGrantType] {
			fit = append(fit, g)
		}
	}
	if len(fit) > 0 {
		return fit, nil
	}
	for _, g := range table {
		if g.grantType == p.value[paramGrantType] {
			return nil, errElsewhere(g)
		}
	}
	return nil, errGrantType(rows)
}

// pick takes the call's token or code; a token also from Authorization: Bearer (RFC 6750, section 2.1) when there is none else. Any other
// Authorization is dropped: OAuth libraries try Basic with the client's secret first.
func (p *params) pick(s *subject, authorization []string) (Secret, *graph.Error) {
	n, text := p.count[s.param], p.value[s.param]
	other := paramToken + paramCode - s.param
	switch {
	case n > 1, n == 0 && s == tokenSubject && len(authorization) > 1:
		return Secret{}, s.twice
	case n == 0 && p.count[other] > 0, s == codeSubject && p.count[other] > 0:
		return Secret{}, s.kind
	case n == 0 && s == tokenSubject && len(authorization) == 1:
		scheme, credentials, _ := strings.Cut(authorization[0], " ")
		if strings.EqualFold(scheme, "Bearer") {
			text = strings.TrimSpace(credentials)
		}
	}
	if s == codeSubject { // the browser's address ends with it, the code does not
		text = strings.TrimSuffix(text, "#_")
	}
	switch {
	case text == "":
		return Secret{}, s.none
	case len(text) > graph.MaxToken:
		return Secret{}, s.long
	case strings.Contains(text, " "):
		return Secret{}, s.blank
	case !graph.IsPrintable(text):
		return Secret{}, s.characters
	}
	return NewSecret(text), nil
}
