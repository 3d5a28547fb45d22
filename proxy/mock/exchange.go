package mock

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// exchange is one request under way, from its arrival to its answer.
type exchange struct {
	instagram *Instagram
	book      *book // the counters it was counted in
	w         http.ResponseWriter
	r         *http.Request
	began     time.Time
	latency   time.Duration
	record    *Request
	endpoint  *endpoint
	family    *family // nil while the body comes
	version   string
	node      string // and edge: of a read or a write
	edge      string
	query     url.Values
	form      url.Values // of the body, if the endpoint has one
	malformed bool       // the query
	badForm   bool
	grant     string
	client    string // the app's id
	short     string // the token it is about, short-lived unless it is to be refreshed, or the code; and the client secret, both as sent:
	secret    string // never to be logged
	hash      string // names the token; "" when there is none
	forAll    *Fault // the one of every token
	fault     *Fault
	took      bool // the code was used up by this request
	strange   []string
	status    int // of the answer; 0: none was given
}

// begin reads a request's head and counts it in.
func (i *Instagram) begin(w http.ResponseWriter, r *http.Request) *exchange {
	b, fault, latency := i.settings()
	x := &exchange{instagram: i, book: b, w: w, r: r, began: time.Now(), latency: latency, forAll: fault, record: i.requests.add(r)}
	x.find()
	query, err := url.ParseQuery(r.URL.RawQuery)
	x.query, x.malformed = query, err != nil
	if x.endpoint.bodied {
		b.arrive(nil)
		return x
	}
	x.settle()
	b.arrive(x.carried())
	return x
}

// settle finds out what a request is about, once all of it is there.
func (x *exchange) settle() {
	parameters, token := x.query, "access_token"
	if x.endpoint.codes {
		parameters, token = x.form, "code"
	}
	x.grant, x.client = last(parameters, "grant_type"), last(parameters, "client_id")
	x.short, x.secret = last(parameters, token), last(parameters, "client_secret")
	if x.endpoint.open && x.short == "" {
		x.short = last(x.form, token)
	}
	if x.endpoint.open && x.short == "" {
		x.short = bearer(x.r.Header.Get("Authorization"))
	}
	x.family = x.chooseFamily()
	if x.short != "" {
		x.hash = hashOf(x.short)
		x.fault = chooseFault(x.forAll, x.short)
	}
	x.strange = x.strangeness()
}

func bearer(authorization string) string {
	kind, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return token
}

// name is the endpoint's, as in CallsTo.
func (x *exchange) name() string { return x.family.prefix + x.endpoint.name }

// carried is what the counters are told.
func (x *exchange) carried() *carried {
	c := &carried{x.name(), x.hash, x.strange}
	x.instagram.requests.update(func() { x.record.Endpoint = c.endpoint })
	return c
}

// end counts it out and writes its one line.
func (x *exchange) end() {
	x.book.leave(x.hash)
	attrs := []slog.Attr{slog.Float64("duration_ms", float64(time.Since(x.began).Microseconds())/1000)}
	if x.status != 0 {
		attrs = append(attrs, slog.Int("status", x.status))
	}
	if x.family != nil {
		attrs = append(attrs, slog.String("endpoint", x.name()))
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

// answer checks in Instagram's order: method, path, the endpoint's own order, then the faults, and at last what is known of the token.
func (x *exchange) answer() {
	x.wait(x.latency)
	if !slices.Contains(x.endpoint.methods, x.r.Method) {
		x.refuse(unsupported(x.r.Method))
		return
	}
	if e := x.endpoint.refusal(x); e != nil {
		x.refuse(*e)
		return
	}
	if x.fault != nil {
		x.book.faulty(x.fault.Name)
		x.fault.play(x)
		return
	}
	if e := x.endpoint.verdict(x); e != nil {
		x.refuse(*e)
		return
	}
	x.succeed()
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
