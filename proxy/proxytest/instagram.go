// Package proxytest is a stand-in for Instagram's token endpoint, because Meta offers no sandbox for tokens: the real answers and
// errors byte for byte, counters that show how often it was asked, and every fault that an Instagram, or the network before it, can have.
//
// It promises that any token is good unless its prefix names a fault (Faults), that a long-lived token says nothing of the short-lived
// one and is new at every call, and that it prints neither tokens nor secrets: not in a log line, not in its counters. It imports
// nothing of igproxy's, so that it cannot share a mistake with it.
//
// The answers follow what Meta documents (https://developers.facebook.com/docs/instagram-platform/reference/access_token) and what
// people published of the wire.
package proxytest

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Options configure an Instagram.
type Options struct {
	// Secret is the one client secret accepted. Empty: any that is not empty.
	Secret string
	// Latency before each answer but the control endpoints'. 0: none.
	Latency time.Duration
	// Logger gets one line a request. Nil: silence.
	Logger *slog.Logger
}

// Instagram is the stand-in. It is an http.Handler; Start serves it on a real listener. Safe for concurrent use.
type Instagram struct {
	accepts func(secret string) bool
	log     *slog.Logger
	closed  chan struct{}
	close   func()

	mu      sync.Mutex // protects latency, fault and book
	latency time.Duration
	fault   *Fault // of every token; nil: by prefix
	book    *book
}

// New builds an Instagram with empty counters.
func New(o Options) *Instagram {
	i := &Instagram{accepts: accepting(o.Secret), log: o.Logger, latency: o.Latency, closed: make(chan struct{}), book: newBook()}
	i.close = sync.OnceFunc(func() { close(i.closed) })
	if i.log == nil {
		i.log = slog.New(slog.DiscardHandler)
	}
	return i
}

// accepting keeps a digest of the secret, so that no dump of an Instagram can show it.
func accepting(secret string) func(string) bool {
	if secret == "" {
		return func(given string) bool { return given != "" }
	}
	want := sha256.Sum256([]byte(secret))
	return func(given string) bool {
		got := sha256.Sum256([]byte(given))
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
}

// ServeHTTP answers the control endpoints at once and everything else as Instagram does. Faults that cut an answer short take over the
// connection, or end the handler with http.ErrAbortHandler where that cannot be done (HTTP/2: the stream is reset).
func (i *Instagram) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if i.control(w, r) {
		return
	}
	x := i.begin(w, r)
	defer x.end()
	x.answer()
}

// Close ends every handler that hangs or waits, now and later. The counters can still be read.
func (i *Instagram) Close() { i.close() }

// SetFault makes every token behave as if its prefix were this fault's; "" ends it. It panics on a name that Faults does not list:
// a test with a typing error would else prove nothing.
func (i *Instagram) SetFault(name string) {
	if err := i.setFault(name); err != nil {
		panic("proxytest: " + err.Error())
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

// Reset zeroes the counters. Fault and latency stay. A request under way is counted where it began, and nowhere now.
func (i *Instagram) Reset() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.book = newBook()
}

func (i *Instagram) counters() *book {
	b, _, _ := i.settings()
	return b
}

// Calls is how many requests came, whatever they asked for, but for the control endpoints.
func (i *Instagram) Calls() int { return i.counters().stats().Total }

// CallsFor is how many requests carried this short-lived token.
func (i *Instagram) CallsFor(short string) int { return i.counters().token(short).Calls }

// MaxConcurrent is how many requests with this short-lived token were under way at once, at most.
func (i *Instagram) MaxConcurrent(short string) int { return i.counters().token(short).MaxConcurrent }

// Issued are the long-lived tokens made for this short-lived one, in order, those in broken answers included.
func (i *Instagram) Issued(short string) []string { return i.counters().issued(short) }

// Strange names what igproxy must not send and did, one text a request; values are never in it.
func (i *Instagram) Strange() []string { return i.counters().stats().Strange }
