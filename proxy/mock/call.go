package mock

import (
	"cmp"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// call is one request, from its arrival to its response.
type call struct {
	instagram *Instagram
	counters  *counters // the counters that include this call
	w         http.ResponseWriter
	r         *http.Request
	began     time.Time
	latency   time.Duration
	record    *Request
	endpoint  *endpoint
	family    *family // nil until identify sets it
	version   string
	node      string // the path of a read or a write is /node or /node/edge
	edge      string
	query     url.Values
	form      url.Values // from the body, if the endpoint reads it
	badQuery  bool
	badForm   bool
	grant     string
	client    string   // the app's ID
	short     string   // the token (even if long-lived), the code or the app's ID as sent; never logged
	secret    string   // the client secret as sent or, at debug_token, the access_token; never logged
	hash      string   // stands for the token in logs and counters; "" without a token
	forAll    *Fault   // the fault set for every token
	fault     *Fault   // the fault that this call gets, or nil
	refresh   bool     // this call asks for a refresh of the token
	usedCode  bool     // this call consumed the code
	strange   []string // what strangeness returned
	status    int      // of the response; 0 until it is sent
}

// begin reads the head of a request and counts the request.
func (i *Instagram) begin(w http.ResponseWriter, r *http.Request) *call {
	c, fault, latency := i.settings()
	x := &call{instagram: i, counters: c, w: w, r: r, began: time.Now(), latency: latency, forAll: fault, record: i.requests.add(r)}
	x.find()
	query, err := url.ParseQuery(r.URL.RawQuery)
	x.query, x.badQuery = query, err != nil
	if x.endpoint.bodied {
		c.arrive(nil)
		return x
	}
	x.identify()
	c.arrive(x.carried())
	return x
}

// identify finds the token, the secret, the family and the fault of a call. It is called after
// everything that the endpoint reads has arrived.
func (x *call) identify() {
	x.grant, x.client = x.value("grant_type"), x.value("client_id")
	if x.endpoint == loginEndpoint {
		x.family = x.chooseFamily()
		x.endpoint = x.loginCall()
		x.grant, x.client = x.value("grant_type"), x.value("client_id") // again: this endpoint may ignore the query
	}
	x.short, x.secret = x.value(x.endpoint.token), x.value("client_secret")
	if x.endpoint.open {
		access := cmp.Or(x.value("access_token"), bearer(x.r.Header.Get("Authorization")))
		if x.endpoint == debugEndpoint {
			x.secret = access // usually an app token, which can contain the client secret
		} else {
			x.short = access
		}
	}
	if x.family == nil {
		x.family = x.chooseFamily()
	}
	if x.short != "" {
		x.hash = hashOf(x.short)
		x.fault = chooseFault(x.forAll, x.short)
		x.refresh = x.isRefresh()
	}
	x.strange = x.strangeness()
}

// bearer returns the token of a Bearer authorization, or "".
func bearer(authorization string) string {
	kind, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(kind, "Bearer") {
		return ""
	}
	return token
}

// name returns the endpoint's name in the form that CallsTo accepts.
func (x *call) name() string { return x.family.prefix + x.endpoint.name }

// carried returns what the counters need to know about the call. It also sets x.record.Endpoint.
func (x *call) carried() *carried {
	c := &carried{x.name(), x.hash, x.refresh, x.strange}
	x.instagram.requests.update(func() { x.record.Endpoint = c.endpoint })
	return c
}

// end counts the call as finished and writes its log line.
func (x *call) end() {
	x.counters.leave(x.hash)
	attrs := []slog.Attr{slog.Float64("duration_ms", float64(time.Since(x.began).Microseconds())/1000)}
	if x.status != 0 {
		attrs = append(attrs, slog.Int("status", x.status))
	}
	if x.family != nil {
		attrs = append(attrs, slog.String("endpoint", x.name()))
	}
	if x.hash != "" {
		attrs = append(attrs, slog.String("token", x.hash)) // as in GET /__stats
	}
	if x.fault != nil {
		attrs = append(attrs, slog.String("fault", x.fault.Name))
	}
	if len(x.strange) > 0 {
		attrs = append(attrs, slog.Any("strange", x.strange))
	}
	x.instagram.log.LogAttrs(x.r.Context(), slog.LevelInfo, "request", attrs...)
}

// answer checks the request and responds. The checks have Instagram's order: first the method, then
// the path and the parameters, and finally the token. If the call has a fault, answer plays the
// fault instead of checking the token.
func (x *call) answer() {
	x.wait(x.latency)
	if !slices.Contains(x.endpoint.methods, x.r.Method) {
		x.refuse(x.unsupportedMethod())
		return
	}
	if e := x.endpoint.refusal(x); e != nil {
		x.refuse(*e)
		return
	}
	if x.fault != nil {
		x.counters.faulty(x.fault.Name)
		x.fault.play(x)
		return
	}
	if e := x.endpoint.verdict(x); e != nil {
		x.refuse(*e)
		return
	}
	x.succeed()
}

// wait sleeps for d. It aborts the call if the client disconnects or the stand-in is closed.
func (x *call) wait(d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	x.until(t.C)
}

// until waits for an event, or forever if event is nil. It aborts the call as wait does.
func (x *call) until(event <-chan time.Time) {
	select {
	case <-event:
	case <-x.r.Context().Done():
		x.abort()
	case <-x.instagram.closed:
		x.abort()
	}
}

// abort ends the call at once, even in the middle of a response. The connection is closed, or the
// HTTP/2 stream is reset.
func (x *call) abort() { panic(http.ErrAbortHandler) }
