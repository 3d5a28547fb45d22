package proxy

import (
	"context"
	"sync/atomic"
)

// places bound the calls in flight and the flights that wait for a place.
type places struct {
	free    chan struct{}
	waiting atomic.Int64
}

// waitersPerPlace bounds the queue: beyond it the wait would outlast the budget anyway.
const waitersPerPlace = 8

func newPlaces(n int) *places { return &places{free: make(chan struct{}, n)} }

// take waits for a place, bounded by the flight's budget and by the length of the queue.
func (p *places) take(ctx context.Context) bool {
	select {
	case p.free <- struct{}{}:
		return true
	default:
	}
	defer p.waiting.Add(-1)
	if p.waiting.Add(1) > int64(waitersPerPlace*cap(p.free)) {
		return false
	}
	select {
	case p.free <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (p *places) give() { <-p.free }

func (p *places) taken() int { return len(p.free) }
