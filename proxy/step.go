package proxy

import (
	"context"
	"net/http"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// call is a decoded request. It contains everything that the steps after decode need, and nothing
// that belongs to HTTP.
type call struct {
	grant    *grant
	app      *app
	token    Secret // the token or the code that the call is about
	redirect string // the redirect_uri of a code
	key      cache.Key
	secret   Secret // the client secret to send; set by ask
	// mayRetry reports whether guard would still let the call through; set by guard.
	mayRetry func() bool
}

// exchanger is implemented by the steps between decode and answer, except remember, which is a part
// of claim. Each step calls the next one.
type exchanger interface {
	Exchange(context.Context, call) (answer, error)
}

// source is where an answer came from. It is a metric label and a log field.
type source string

const (
	sourceMemory   source = "memory"
	sourceRedis    source = "redis"
	sourceUpstream source = "upstream"
	sourceFleet    source = "fleet" // another sidecar asked Meta, and this one waited for its answer
	sourceKept     source = "kept"  // the record of a token that has been refreshed; see keep.go
	sourceHold     source = "hold"  // a refusal that concerns the whole app, repeated during the app's pause
	sourceNone     source = "none"  // no answer to a token call
)

// answer is what Meta has decided about a token call: a token or a refusal.
type answer struct {
	token   graph.Token
	refusal *graph.Error // nil: there is a token
	source  source
	joined  bool          // this caller joined a flight that another caller began
	stored  bool          // the flight stored the answer in the cache
	left    time.Duration // how much longer the answer is remembered; 0: not at all
	usage   http.Header   // the headers about rate limits; nil unless Meta has just sent the answer
	with    Secret        // the client secret that was sent; zero: none, or a refused app token (see askStep.Exchange)
	without Secret        // the client secret that Meta refused before, for the same call
}

// is reports whether the answer is a refusal of this class.
func (a answer) is(c graph.Class) bool { return a.refusal != nil && a.refusal.Class == c }
