package cache

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// largestBatch bounds the claims in one pipeline.
	largestBatch = 32

	// parallelBatches bounds the pipelines in flight. While fewer are in flight, a claim is sent at
	// once. While this many are in flight, a claim waits until a pipeline ends, and shares the next
	// pipeline with the other waiting claims.
	parallelBatches = 2
)

// batches sends concurrent claims as pipelines. A pipeline needs one write and one read for many
// claims, and these two cost more than the rest of a claim. The library's own automatic pipelining
// is not used, because it is experimental and ignores the deadline of a queued command.
//
// A fault fails exactly the claims of its batch. A waiting claim ends when its own context ends.
type batches struct {
	client redis.UniversalClient
	budget time.Duration // the time that one pipeline may take

	sending sync.WaitGroup
	mu      sync.Mutex // protects the fields below
	waiting []*batched
	running int // pipelines in flight
}

// batched is a command in a batch, or a command that waits for a batch.
type batched struct {
	*redis.Cmd
	done     chan struct{}
	panicked bool // the library panicked in this batch; set before done is closed
}

// do runs a command and returns its result, or the error of ctx.
func (b *batches) do(ctx context.Context, args ...any) (any, error) {
	c := &batched{Cmd: redis.NewCmd(context.WithoutCancel(ctx), args...), done: make(chan struct{})}
	b.mu.Lock()
	b.waiting = append(b.waiting, c)
	send := b.running < parallelBatches
	if send {
		b.running++
	}
	b.mu.Unlock()
	if send {
		b.send(b.take()) //nolint:contextcheck // a batch serves several callers, so it has its own context
		if next := b.take(); len(next) > 0 {
			b.sending.Go(func() { b.sendAll(next) }) //nolint:contextcheck // as above
		}
	}
	select {
	case <-c.done:
		if c.panicked {
			return nil, errDesync
		}
		return c.Result()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// sendAll sends a batch, and then the claims that arrived meanwhile, until no claim waits.
func (b *batches) sendAll(next []*batched) {
	for ; len(next) > 0; next = b.take() {
		b.send(next)
	}
}

// take returns the next batch. If no claim waits, it returns nil, and the caller's pipeline no
// longer counts as running.
func (b *batches) take() []*batched {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.waiting), largestBatch)
	if n == 0 {
		b.running--
		return nil
	}
	next := b.waiting[:n:n]
	b.waiting = b.waiting[n:]
	return next
}

// send runs one batch. It recovers from panics, because an unexpected reply can make the library
// panic.
func (b *batches) send(batch []*batched) {
	panicked := true
	defer func() {
		if panicked {
			_ = recover()
		}
		for _, c := range batch {
			c.panicked = panicked
			close(c.done)
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), b.budget)
	defer cancel()
	if len(batch) == 1 {
		_ = b.client.Process(ctx, batch[0].Cmd)
	} else {
		pipeline := b.client.Pipeline()
		for _, c := range batch {
			_ = pipeline.Process(ctx, c.Cmd)
		}
		exec(ctx, pipeline)
	}
	panicked = false
}
