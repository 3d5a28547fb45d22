package mock

import (
	"net/http"
	"slices"
	"sync"
)

// maxRequests is the number of recent requests that are kept.
const maxRequests = 256

// Request is one request exactly as it arrived. It contains tokens and secrets, so it is only for
// tests and is never served.
type Request struct {
	Endpoint string // as in CallsTo; "" until the body has been read
	Proto    string
	Method   string
	URI      string // path and query as in the request line
	Path     string // the path of URI, not decoded
	RawQuery string
	Host     string
	Header   http.Header
	Length   int64  // announced length of the body; -1 if not announced
	Bytes    int64  // read from the body so far; endpoints without a body read nothing
	SHA256   string // of the bytes read, in hex; "" if nothing was read
	Body     []byte // the first 64 KiB
}

// requests keeps the latest requests. They are separate from the counters, so that nothing prints
// them by mistake.
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

// update runs f while holding the lock.
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
