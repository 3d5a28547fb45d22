package mock

import (
	"net/http"
	"slices"
	"sync"
)

// maxRequests is how many of the latest requests are remembered.
const maxRequests = 256

// Request is one request exactly as it arrived. It holds tokens and secrets: it is for tests, and never served.
type Request struct {
	Endpoint string // exchange, refresh, code, read, write or other, for Threads behind threads_; "" while its body comes
	Proto    string
	Method   string
	URI      string // path and query as they stood in the request
	Path     string // the same, apart and not decoded
	RawQuery string
	Host     string
	Header   http.Header
	Length   int64  // the body's, as announced; -1: not announced
	Bytes    int64  // read of the body so far; the token endpoints that take none read none
	SHA256   string // of these, in hex; "" when the body was not read
	Body     []byte // the first 64 KiB of them
}

// requests are the latest ones. They are no counters, and apart from them, so that nothing can print them by mistake.
type requests struct {
	mu     sync.Mutex // protects latest and every Request in it
	latest []*Request
}

func (q *requests) add(r *http.Request) *Request {
	record := &Request{Proto: r.Proto, Method: r.Method, URI: r.RequestURI, Path: r.URL.EscapedPath(), RawQuery: r.URL.RawQuery,
		Host: r.Host, Header: r.Header.Clone(), Length: r.ContentLength}
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.latest) == maxRequests {
		q.latest = slices.Delete(q.latest, 0, 1)
	}
	q.latest = append(q.latest, record)
	return record
}

// update runs f under the lock.
func (q *requests) update(f func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	f()
}

func (q *requests) all() []Request {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := make([]Request, len(q.latest))
	for i, r := range q.latest {
		all[i] = *r
	}
	return all
}

func (q *requests) forget() { q.update(func() { q.latest = nil }) }
