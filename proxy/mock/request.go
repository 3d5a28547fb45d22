package mock

import (
	"net/http"
	"slices"
	"sync"
)

// maxRequests is the number of recent requests that are kept.
const maxRequests = 256

// Request is one request as net/http received it. Its URI is unchanged; the names in Header are in
// canonical form. A Request contains tokens and secrets, so it is only for tests and never served.
type Request struct {
	Endpoint string // as in CallsTo; "" until the endpoint has read the body
	Proto    string
	Method   string
	URI      string // path and query as in the request line
	Path     string // the path of URI, not decoded
	RawQuery string
	Host     string
	Header   http.Header
	Length   int64  // announced length of the body; 0 without a body; -1 if not announced
	Bytes    int64  // how much of the body has been read; 0 if the endpoint does not read bodies
	SHA256   string // of the bytes read so far, in hex; "" if the endpoint does not read bodies
	Body     []byte // the first 64 KiB of the bytes read so far
}

// requests keeps the latest requests. They are not among the counters, because the counters are
// served and must not contain tokens or secrets.
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
