package proxy

import (
	"context"
	"time"

	"github.com/igproxy/igproxy/cache"
	"github.com/igproxy/igproxy/proxy/graph"
)

// call is one decoded request: everything the steps after decode need, and nothing of the request itself.
type call struct {
	grant    *grant
	app      *app
	token    Secret // or the code
	redirect string // of a form: on the app's list
	key      cache.Key
	secret   Secret // the client secret to send; chosen by ask
	// mayRetry reports whether guard would still let the call through. Nil means that it would.
	mayRetry func() bool
}

// exchanger is the one verb between the two HTTP ends. The steps are wrapped around each other as
//
//	recall(join(claim(guard(ask))))
type exchanger interface {
	Exchange(context.Context, call) (answer, error)
}

// source is where an answer came from; a metric label and a log field.
type source string

const (
	sourceMemory   source = "memory"
	sourceRedis    source = "redis"
	sourceUpstream source = "upstream"
	sourceFleet    source = "fleet" // another sidecar asked, and this one waited for it
	sourceHold     source = "hold"  // Instagram's last word about the whole app, repeated
	sourceNone     source = "none"
)

// answer is a definite word of Instagram's: a token, or a refusal.
type answer struct {
	token   graph.Token
	refusal *graph.Error // nil: there is a token
	source  source
	joined  bool          // this caller waited for another one's exchange
	stored  bool          // it was remembered just now
	left    time.Duration // how long it will still be remembered
	usage   graph.Usage   // only from upstream
	with    Secret        // the client secret it was got with, from upstream where one is sent
	without Secret        // one that Instagram had refused for the same call
	flight  flightID      // of the flight that brought it, where there are traces
}

// is reports whether the answer is a refusal of this class.
func (a answer) is(c graph.Class) bool { return a.refusal != nil && a.refusal.Class == c }
