// Package mock is a stand-in for the logins and tokens of Instagram, Threads and Facebook, because
// Meta has no sandbox for tokens. It serves the token exchange, the refresh, the code exchange, app
// tokens, debug_token and a small part of reading and writing. It counts the calls that it
// receives, and it can play faults of Instagram and of the network. It also signs webhooks and
// signed requests as Meta does.
//
// Any token can be exchanged, except:
//
//   - a token whose prefix names a fault that refuses it (see Faults);
//   - a token with a prefix of another API;
//   - an app token, at Facebook;
//   - a token that the stand-in has revoked;
//   - a token that the stand-in issued and that has expired;
//   - a long-lived token that the stand-in issued, except at Facebook.
//
// For a refresh, a read or a write, a token must begin like a real one: with IG or EAA (Instagram),
// TH (Threads) or EAA (Facebook). A code works once. Every exchange and every refresh returns a new
// token, except a refresh after SetRefresh("same"). A new token reveals nothing about the token or
// code that it was issued for. Tokens and secrets never appear in log lines or counters. The
// package imports nothing from igproxy, so the two cannot share a mistake.
//
// The responses follow Meta's documentation
// (https://developers.facebook.com/docs/instagram-platform/reference/access_token and the pages
// next to it) and real responses that people have published, byte for byte. A comment marks each
// response that is based on neither.
package mock

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options configure an Instagram.
type Options struct {
	// AppID and Secret are the only client_id and client secret that Instagram accepts. An empty
	// field accepts any value except "".
	AppID, Secret string
	// Threads and Facebook are the apps of the other two APIs. If Host is empty, a login call with
	// the AppID of one of these apps goes to the app's API.
	Threads, Facebook App
	// RequireProof makes reads and writes at Facebook need an appsecret_proof, as the setting
	// "Require App Secret" in Meta's dashboard does. SetRequireProof changes this.
	RequireProof bool
	// Host limits the stand-in to one of Meta's hosts; the function Hosts lists them. Paths of the
	// other hosts are then unknown. Empty means all hosts.
	Host string
	// PagingBase is the scheme and host of the URLs in paging.next and paging.previous. Empty means
	// the scheme and host of the request.
	PagingBase string
	// FlatCodes makes the responses to Instagram's code exchanges flat, as seen on the wire,
	// instead of as documented. SetShape changes this.
	FlatCodes bool
	// TokenLife is the life of the long-lived tokens that the stand-in issues. It must be at least
	// one second, and is rounded down to whole seconds. A token can be refreshed after a 60th of
	// its life, or after a day if that is sooner. Zero means Meta's 60 days.
	TokenLife time.Duration
	// Latency is the delay before each response, except the responses of control endpoints.
	Latency time.Duration
	// Logger receives one line per request. Nil means no log.
	Logger *slog.Logger
}

// Instagram is the stand-in. It is an http.Handler; Start serves it on a listener. It is safe for
// concurrent use.
type Instagram struct {
	host       host
	pagingBase string
	tokenLife  time.Duration // zero: Meta's 60 days
	log        *slog.Logger
	issued     *issuedRecords
	requests   *requests
	closed     chan struct{}
	close      func()

	mu       sync.Mutex // protects the fields below
	apps     map[*family]app
	shape    string // of the responses to Instagram's code exchanges
	same     bool   // a refresh returns the token that was sent
	latency  time.Duration
	proof    bool      // reads and writes at Facebook need an appsecret_proof
	fault    *Fault    // for every token; if nil, the token's prefix decides
	counters *counters // since the last Reset
}

// New returns an Instagram with empty counters. It panics if Host is unknown, or if TokenLife is
// less than one second and not zero.
func New(o Options) *Instagram {
	h, known := hosts[o.Host]
	if !known {
		panic("mock: unknown host " + o.Host)
	}
	if o.TokenLife != 0 && o.TokenLife < time.Second {
		panic("mock: TokenLife is less than one second")
	}
	i := &Instagram{host: h, pagingBase: o.PagingBase, tokenLife: o.TokenLife.Truncate(time.Second), log: o.Logger, latency: o.Latency, issued: newIssuedRecords(), requests: &requests{},
		closed: make(chan struct{}), counters: newCounters(), shape: dataShape, proof: o.RequireProof}
	i.apps = map[*family]app{
		instagramFamily: newApp(o.AppID, o.Secret),
		threadsFamily:   newApp(o.Threads.AppID, o.Threads.Secret),
		facebookFamily:  newApp(o.Facebook.AppID, o.Facebook.Secret),
	}
	if o.FlatCodes {
		i.shape = flatShape
	}
	i.close = sync.OnceFunc(func() { close(i.closed) })
	if i.log == nil {
		i.log = slog.New(slog.DiscardHandler)
	}
	return i
}

// ServeHTTP serves the control endpoints, and everything else as Meta does. To break off a
// response, a fault hijacks the connection or panics with http.ErrAbortHandler. Over HTTP/2, a
// fault always panics, which resets only the stream.
func (i *Instagram) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.control(w, r) {
		return
	}
	x := i.begin(w, r)
	defer x.end()
	x.read()
	x.answer()
}

// Close ends every handler that hangs or waits, and every handler that begins to hang or wait
// later. The counters can still be read.
func (i *Instagram) Close() { i.close() }

// SetFault makes every token behave as if its prefix named this fault. SetFault("") ends the fault.
// SetFault panics on a name that Faults does not list, because a test with a misspelled fault would
// prove nothing.
func (i *Instagram) SetFault(name string) {
	if err := i.setFault(name); err != nil {
		panic("mock: " + err.Error())
	}
}

func (i *Instagram) setFault(name string) error {
	name = strings.TrimSuffix(name, "-")
	f := faultNamed(name)
	if f == nil && name != "" {
		return fmt.Errorf("unknown fault; the known faults are %s", strings.Join(faultNames(), ", "))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault = f
	return nil
}

// SetLatency changes the latency of requests that arrive later.
func (i *Instagram) SetLatency(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.latency = d
}

// settings returns the current counters, fault and latency. A request reads them when it starts,
// and keeps them until it ends.
func (i *Instagram) settings() (*counters, *Fault, time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.counters, i.fault, i.latency
}

// Reset sets the counters to zero and drops the recorded Requests. It keeps the settings, such as
// the fault and the latency, and the records of tokens and codes, so a used code stays used. A
// request that is in flight during a Reset is not in the new counters.
func (i *Instagram) Reset() {
	i.requests.forget()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.counters = newCounters()
}

func (i *Instagram) currentCounters() *counters {
	c, _, _ := i.settings()
	return c
}

// Age makes every token and code issued so far older by d.
func (i *Instagram) Age(d time.Duration) { i.issued.age(d) }

// Code issues a code that works once, within an hour, for this client_id and this redirect_uri. An
// empty argument accepts any value.
func (i *Instagram) Code(clientID, redirectURI string) string {
	return i.issued.newCode(clientID, redirectURI)
}

// The two shapes of a response to Instagram's code exchange.
const (
	dataShape = "data" // documented: a list with one object of strings
	flatShape = "flat" // seen on the wire: one object, whose user_id is a number above 2^53
)

// SetShape sets the shape of responses to Instagram's code exchanges: data or flat. It panics on
// any other value, as SetFault does.
func (i *Instagram) SetShape(shape string) {
	if err := i.setShape(shape); err != nil {
		panic("mock: " + err.Error())
	}
}

func (i *Instagram) setShape(shape string) error {
	if shape != dataShape && shape != flatShape {
		return errors.New("shape must be data or flat")
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.shape = shape
	return nil
}

func (i *Instagram) flat() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.shape == flatShape
}
