package proxy

import "context"

// slots limits how many calls are in flight, and how many calls wait for a slot. Each circuit has
// its own slots, and each app has slots for its passed-through calls.
type slots struct {
	inFlight chan struct{} // has one element for each call in flight
	queue    chan struct{} // has one element for each call in flight and each call that waits
}

// waitersPerSlot limits the queue. In a longer queue, the last calls would usually use up the time
// budget of their flights while they wait.
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
