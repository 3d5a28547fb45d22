package proxy

import "context"

// places bound the calls in flight of a circuit, or those of an app that are passed through, and
// what waits for one of them to end.
type places struct {
	inFlight chan struct{}
	queue    chan struct{} // those in flight, and those that wait
}

// waitersPerPlace bounds the queue: a longer wait would exceed the flight's budget anyway.
const waitersPerPlace = 8

func newPlaces(n int) *places {
	return &places{make(chan struct{}, n), make(chan struct{}, n*(1+waitersPerPlace))}
}

// take waits for a place. It reports false if the queue is full or ctx ends first.
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
