package proxytest

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const grantType = "ig_exchange_token"

// exchange is one request under way, from its arrival to its answer.
type exchange struct {
	instagram *Instagram
	book      *book // the counters it was counted in
	w         http.ResponseWriter
	r         *http.Request
	began     time.Time
	latency   time.Duration
	known     bool // the path is the exchange's
	version   string
	grant     string
	short     string // short-lived token and client secret as sent: never to be logged
	secret    string
	hash      string // names the token; "" when there is none
	fault     *Fault
	strange   []string
	status    int // of the answer; 0: none was given
}

// begin reads a request and counts it in. Of a parameter sent twice the last counts, as in PHP.
func (i *Instagram) begin(w http.ResponseWriter, r *http.Request) *exchange {
	b, fault, latency := i.settings()
	q, err := url.ParseQuery(r.URL.RawQuery)
	last := func(name string) string {
		if values := q[name]; len(values) > 0 {
			return values[len(values)-1]
		}
		return ""
	}
	x := &exchange{instagram: i, book: b, w: w, r: r, began: time.Now(), latency: latency,
		grant: last("grant_type"), short: last("access_token"), secret: last("client_secret")}
	x.version, x.known = readPath(r.URL.Path)
	if x.short != "" {
		x.hash = hashOf(x.short)
		x.fault = chooseFault(fault, x.short)
	}
	x.strange = strangeIn(r, x.known, q, err != nil)
	b.arrive(x.hash, x.strange)
	return x
}

// end counts it out and writes its one line.
func (x *exchange) end() {
	x.book.leave(x.hash)
	attrs := []slog.Attr{slog.Duration("took", time.Since(x.began))}
	if x.status != 0 {
		attrs = append(attrs, slog.Int("status", x.status))
	}
	if x.hash != "" {
		attrs = append(attrs, slog.String("token", x.hash)) // as in /__stats
	}
	if x.fault != nil {
		attrs = append(attrs, slog.String("fault", x.fault.Name))
	}
	if len(x.strange) > 0 {
		attrs = append(attrs, slog.Any("strange", x.strange))
	}
	x.instagram.log.LogAttrs(x.r.Context(), slog.LevelInfo, "asked", attrs...)
}

// answer checks in Instagram's order: method, path, secret, and only then the token.
func (x *exchange) answer() {
	x.wait(x.latency)
	switch {
	case x.r.Method != http.MethodGet:
		x.refuse(unsupported(x.r.Method))
	case !x.known:
		x.refuse(unknownPath(x.r.URL.Path))
	case !x.instagram.accepts(x.secret):
		x.refuse(wrongSecret)
	case x.short == "":
		x.refuse(noToken)
	case x.grant != grantType:
		x.refuse(wrongGrant)
	case x.fault != nil:
		x.book.faulty(x.fault.Name)
		x.fault.play(x)
	default:
		x.succeed()
	}
}

// wait lets time pass, or ends the request without an answer when the client leaves or the stand-in closes.
func (x *exchange) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	x.until(t.C)
}

// until is wait for an event. Nil never comes.
func (x *exchange) until(event <-chan time.Time) {
	select {
	case <-event:
	case <-x.r.Context().Done():
		x.abort()
	case <-x.instagram.closed:
		x.abort()
	}
}

// abort ends the request without an answer, or without the rest of one: the connection is closed, an HTTP/2 stream reset.
func (x *exchange) abort() { panic(http.ErrAbortHandler) }

// readPath knows /access_token and the same behind a version, which it returns.
func readPath(path string) (version string, known bool) {
	rest, versioned := strings.CutPrefix(path, "/v")
	if !versioned {
		return defaultVersion, path == "/access_token"
	}
	version, rest, _ = strings.Cut(rest, "/")
	major, minor, _ := strings.Cut(version, ".")
	if !digits(major) || !digits(minor) {
		return defaultVersion, false
	}
	return "v" + version, rest == "access_token"
}

func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// Headers that igproxy has no reason to send, because they hand on what an app sent, or where it came from.
var handedOn = []string{"Authorization", "Cookie", "Forwarded", "Origin", "Referer", "X-Forwarded-For", "X-Forwarded-Host"}

// strangeIn names what is in a request besides exactly one of each of the three parameters.
func strangeIn(r *http.Request, known bool, q url.Values, malformed bool) (names []string) {
	add := func(when bool, name string) {
		if when {
			names = append(names, name)
		}
	}
	add(r.Method != http.MethodGet, "method")
	add(!known, "path")
	add(malformed, "malformed query")
	for _, name := range []string{"grant_type", "client_secret", "access_token"} {
		add(len(q[name]) == 0, "no "+name)
		add(len(q[name]) > 1, "repeated "+name)
		delete(q, name)
	}
	var others []string
	for name := range q {
		others = append(others, "parameter "+printable(name))
	}
	slices.Sort(others)
	names = append(names, others...)
	for _, name := range handedOn {
		add(len(r.Header[name]) > 0, "header "+name)
	}
	add(r.ContentLength != 0, "body") // -1: of unknown length
	return names
}

// printable is a parameter's name, if it looks like one: a token in the place of a name is not printed.
func printable(name string) string {
	if name == "" || len(name) > 30 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
		return "of an odd name"
	}
	return name
}
