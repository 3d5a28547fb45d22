package proxy

import "context"

// slots limits the calls in flight of a circuit, or the calls of an app that are passed through,
// and the number of calls that wait for a slot.
type slots struct {
	inFlight chan struct{}
	queue    chan struct{} // calls in flight, and calls that wait
}

// waitersPerSlot limits the queue: a longer wait would exceed the flight's budget anyway.
const waitersPerSlot = 8

func newSlots(n int) *slots {
	return &slots{make(chan struct{}, n), make(chan struct{}, n*(1+waitersPerSlot))}
}

// take waits for a slot. It reports false if the queue is full or ctx ends first.
func (s *slots) take(ctx context.Context) bool {
	select {
	case s.queue <- struct{}{}:
	default:
		return false
	}
	select {
	case s.inFlight <- struct{}{}:
		return true
	case <-ctx.Done():
		<-s.queue
		return false
	}
}

func (s *slots) give() {
	<-s.inFlight
	<-s.queue
}
