// Package mock is a stand-in for Instagram and Threads, because Meta offers no sandbox for tokens: the exchange, the refresh, the
// code exchange, and enough of reading and writing; the real answers and errors byte for byte, counters that show how often it was
// asked, and every fault that an Instagram, or the network before it, can have.
//
// It promises that any token can be exchanged unless its prefix names a fault (Faults) or something is known against it, that a code
// works once, that a new token says nothing of the one or the code it was made for and is new at every call, and that it prints neither
// tokens nor secrets: not in a log line, not in its counters. It imports nothing of igproxy's, so that it cannot share a mistake with it.
//
// The answers follow what Meta documents (https://developers.facebook.com/docs/instagram-platform/reference/access_token and its
// neighbours) and what people published of the wire. Where nobody published anything a comment says so.
package mock

import (
	"crypto/sha256"
	"crypto/subtle"
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
	// AppID and Secret are the one client_id and the one client secret accepted. Empty: any that is not empty.
	AppID, Secret string
	// Threads has the same of a Threads app. On a listener for all hosts its AppID tells its code exchanges from Instagram's.
	Threads App
	// Host is the one of Meta's hosts that is played: graph.instagram.com, api.instagram.com or graph.threads.net. Every path of the
	// others is unknown then. Empty: all at once.
	Host string
	// PagingBase is scheme and host of the addresses in paging.next and paging.previous. Empty: what the request came to.
	PagingBase string
	// FlatCodes answers code exchanges in the flat shape seen on the wire, not in the one documented. SetShape changes it.
	FlatCodes bool
	// Latency before each answer but the control endpoints'. 0: none.
	Latency time.Duration
	// Logger gets one line a request. Nil: silence.
	Logger *slog.Logger
}

// App is one of the two things in Meta's dashboard. Empty members mean any that is not empty.
type App struct{ AppID, Secret string }

// app is an App as an Instagram keeps it.
type app struct {
	id      string
	accepts func(secret string) bool
}

// Instagram is the stand-in. It is an http.Handler; Start serves it on a real listener. Safe for concurrent use.
type Instagram struct {
	host       host
	pagingBase string
	log        *slog.Logger
	ledger     *ledger
	requests   *requests
	closed     chan struct{}
	close      func()

	mu      sync.Mutex // protects what follows
	apps    map[*family]app
	shape   string // of the answers to codes
	latency time.Duration
	fault   *Fault // of every token; nil: by prefix
	book    *book
}

// New builds an Instagram with empty counters. It panics on a Host that is none.
func New(o Options) *Instagram {
	h, known := hosts[o.Host]
	if !known {
		panic("mock: unknown host " + o.Host)
	}
	i := &Instagram{host: h, pagingBase: o.PagingBase, log: o.Logger, latency: o.Latency, ledger: newLedger(), requests: &requests{},
		closed: make(chan struct{}), book: newBook(), shape: dataShape}
	i.apps = map[*family]app{
		instagramFamily: {o.AppID, accepting(o.Secret)},
		threadsFamily:   {o.Threads.AppID, accepting(o.Threads.Secret)},
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

// accepting keeps digests of the secrets, so that no dump of an Instagram can show one. None, or an empty one: any that is not empty.
func accepting(secrets ...string) func(string) bool {
	var wanted [][sha256.Size]byte
	for _, s := range secrets {
		if s != "" {
			wanted = append(wanted, sha256.Sum256([]byte(s)))
		}
	}
	if len(wanted) == 0 {
		return func(given string) bool { return given != "" }
	}
	return func(given string) bool {
		got, found := sha256.Sum256([]byte(given)), 0
		for _, want := range wanted {
			found |= subtle.ConstantTimeCompare(got[:], want[:])
		}
		return found == 1
	}
}

// SetSecrets changes which client secrets of the Instagram app are accepted from now on, as the dashboard's "Reset" does; none: any.
func (i *Instagram) SetSecrets(secrets ...string) { i.setSecrets(instagramFamily, secrets) }

func (i *Instagram) setSecrets(f *family, secrets []string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.apps[f] = app{i.apps[f].id, accepting(secrets...)}
}

func (i *Instagram) app(f *family) app {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.apps[f]
}

// ServeHTTP answers the control endpoints at once and everything else as Instagram does. Faults that cut an answer short take over the
// connection, or end the handler with http.ErrAbortHandler where that cannot be done (HTTP/2: the stream is reset).
func (i *Instagram) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.control(w, r) {
		return
	}
	x := i.begin(w, r)
	defer x.end()
	x.read()
	x.answer()
}

// Close ends every handler that hangs or waits, now and later. The counters can still be read.
func (i *Instagram) Close() { i.close() }

// SetFault makes every token behave as if its prefix were this fault's; "" ends it. It panics on a name that Faults does not list:
// a test with a typing error would else prove nothing.
func (i *Instagram) SetFault(name string) {
	if err := i.setFault(name); err != nil {
		panic("mock: " + err.Error())
	}
}

func (i *Instagram) setFault(name string) error {
	name = strings.TrimSuffix(name, "-")
	f := faultNamed(name)
	if f == nil && name != "" {
		return fmt.Errorf("unknown fault; known are %s", strings.Join(faultNames(), ", "))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fault = f
	return nil
}

// SetLatency changes the latency for requests that come from now on.
func (i *Instagram) SetLatency(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.latency = d
}

// settings are what a request finds at its arrival, and keeps.
func (i *Instagram) settings() (*book, *Fault, time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.book, i.fault, i.latency
}

// Reset zeroes the counters and forgets the Requests. Fault and latency stay, and so does what is known of tokens and codes: one used
// stays used. A request under way is counted where it began, and nowhere now.
func (i *Instagram) Reset() {
	i.requests.forget()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.book = newBook()
}

func (i *Instagram) counters() *book {
	b, _, _ := i.settings()
	return b
}

// Age makes every token and code issued so far that much older.
func (i *Instagram) Age(d time.Duration) { i.ledger.age(d) }

// Code issues a code that works once, within an hour, for this app id and this redirect_uri; an empty one means any.
func (i *Instagram) Code(clientID, redirectURI string) string {
	return i.ledger.newCode(clientID, redirectURI)
}

// The two shapes of an answer to a code.
const (
	dataShape = "data" // documented: a list with one object of texts
	flatShape = "flat" // seen on the wire: one object, its user_id a number above 2^53
)

// SetShape changes the shape of the answers to Instagram's codes: data or flat. It panics on another, as SetFault does.
func (i *Instagram) SetShape(shape string) {
	if err := i.setShape(shape); err != nil {
		panic("mock: " + err.Error())
	}
}

func (i *Instagram) setShape(shape string) error {
	if shape != dataShape && shape != flatShape {
		return errors.New("mode must be data or flat")
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
