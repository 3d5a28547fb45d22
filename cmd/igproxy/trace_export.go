package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// exporter posts spans to a collector by OTLP over HTTP, as JSON: https://opentelemetry.io/docs/specs/otlp/#otlphttp. The library's own exporter
// would bring gRPC and Protocol Buffers' stubs into every binary, for spans that most never send.
type exporter struct {
	url       string
	header    http.Header
	gzip      bool
	timeout   time.Duration   // of a batch, repetitions included
	transport *http.Transport // no client: that would follow redirects, with the headers of the variables
	stopping  chan struct{}   // closed: nothing is repeated any more
	stop      func()          // closes it
}

// maxCollectorReply bounds what is read of a collector's answer: a count, and a text that nobody reads.
const maxCollectorReply = 64 << 10

func newExporter(c TraceConfig) (*exporter, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pool, err := readCertPool(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("traces: the collector's authorities: %w", err)
		}
		secure.RootCAs = pool
	}
	if c.CertFile != "" {
		pair, err := readKeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("traces: the certificate for the collector: %w", err)
		}
		secure.Certificates = []tls.Certificate{*pair}
	}
	header, f := pairs(c.Headers.Reveal())
	if f != nil {
		return nil, errors.New("traces: the headers for the collector: " + f.what)
	}
	header.Set("User-Agent", "igproxy/"+readBuild().version)
	header.Set("Content-Type", "application/json")
	if c.Gzip {
		header.Set("Content-Encoding", "gzip")
	}
	stopping := make(chan struct{})
	return &exporter{url: c.URL, header: header, gzip: c.Gzip, timeout: c.Timeout, stopping: stopping, stop: sync.OnceFunc(func() { close(stopping) }),
		transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: secure, ForceAttemptHTTP2: true, MaxIdleConns: 1,
			IdleConnTimeout: 90 * time.Second, MaxResponseHeaderBytes: maxCollectorReply, DisableCompression: true}}, nil
}

// ExportSpans sends a batch, again where the collector asks for that, and returns with the time-out at the latest. No error of its own holds a
// URL, a header, or what the collector said.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	body, err := e.encode(spans)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	for try := 0; ; try++ {
		err := e.post(ctx, body)
		var busy *busyError
		if !errors.As(err, &busy) || !e.wait(ctx, max(busy.after, backoff(try))) {
			return err
		}
	}
}

// Shutdown has nothing to wait for: the queue's owner has waited for the last batch.
func (e *exporter) Shutdown(context.Context) error {
	e.transport.CloseIdleConnections()
	return nil
}

func (e *exporter) encode(spans []sdktrace.ReadOnlySpan) ([]byte, error) {
	body, err := json.Marshal(otlpOf(spans))
	if err != nil || !e.gzip {
		return body, err
	}
	var small bytes.Buffer
	z := gzip.NewWriter(&small)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return small.Bytes(), nil
}

// post tries once.
func (e *exporter) post(ctx context.Context, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header = e.header.Clone()
	res, err := e.transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	reply, err := io.ReadAll(io.LimitReader(res.Body, maxCollectorReply)) // to its end, so that the connection can be kept
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return &busyError{retryAfter(res.Header.Get("Retry-After"))}
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return statusError(res.StatusCode)
	}
	if err != nil {
		return err
	}
	return partOf(reply)
}

// partOf reads how many spans a collector did not take of those it was sent. What says nothing of that has taken all.
func partOf(reply []byte) error {
	var said struct {
		PartialSuccess struct {
			RejectedSpans json.RawMessage `json:"rejectedSpans"` // a number, or one in quotes, as 64 bits are written
		} `json:"partialSuccess"`
	}
	_ = json.Unmarshal(reply, &said)
	if n, err := strconv.ParseInt(string(bytes.Trim(said.PartialSuccess.RejectedSpans, `"`)), 10, 64); err == nil && n > 0 {
		return &partError{n}
	}
	return nil
}

// backoff is the pause before another try: some 1, 2, 4, then 8 seconds.
func backoff(try int) time.Duration {
	most := time.Second << min(try, 3)
	return most/2 + rand.N(most/2) //nolint:gosec // not a secret: only so that many sidecars don't come back at once
}

// wait is false if the time-out or a stop comes first; the former is known before it is waited for.
func (e *exporter) wait(ctx context.Context, pause time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= pause {
		return false
	}
	again := time.NewTimer(pause)
	defer again.Stop()
	select {
	case <-again.C:
		return true
	case <-ctx.Done():
	case <-e.stopping:
	}
	return false
}

// retryAfter is seconds or a date; zero is neither. Of more than 31 bits, ParseUint gives the most there are.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return time.Until(date)
	}
	return 0
}

// busyError is a collector that wants to be asked again.
type busyError struct{ after time.Duration }

func (e *busyError) Error() string { return "the collector is busy" }

// statusError is one that does not.
type statusError int

func (e statusError) Error() string { return "status " + strconv.Itoa(int(e)) }

// partError is one that took some spans and not others.
type partError struct{ rejected int64 }

func (e *partError) Error() string { return "taken in part" }
