package proxy

import "context"

// places limits the calls in flight of a circuit, or the calls of an app that are passed through,
// and the number of calls that wait for a slot.
type places struct {
	inFlight chan struct{}
	queue    chan struct{} // calls in flight, and calls that wait
}

// waitersPerPlace limits the queue: a longer wait would exceed the flight's budget anyway.
const waitersPerPlace = 8

func newPlaces(n int) *places {
	return &places{make(chan struct{}, n), make(chan struct{}, n*(1+waitersPerPlace))}
}

// take waits for a slot. It reports false if the queue is full or ctx ends first.
func (p *places) take(ctx context.Context) bool {
	select {
	case p.queue <- struct{}{}:
	default:
		return false
	}
	select {
	case p.inFlight <- struct{}{}:
		return true
	case <-ctx.Done():
		<-p.queue
		return false
	}
}

func (p *places) give() {
	<-p.inFlight
	<-p.queue
}
