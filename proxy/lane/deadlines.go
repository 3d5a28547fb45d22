package lane

import "time"

// deadlines are the timeouts of a connection. Setting a deadline costs as much as finding a token,
// so those of idling and writing are set again only when that matters.
type deadlines struct {
	of *conn

	idleSince time.Time // when the last answer was written; zero: there was none
	readSet   time.Time // when the read deadline was set
	writeSet  time.Time // when the write deadline was set
	arriving  bool      // the read deadline is that of a request's header
}

// begin sets the deadline of a new connection. Its header timeout begins at once, as in net/http.
func (d *deadlines) begin() {
	d.arriving = true
	d.setRead(time.Now(), d.of.lane.options.HeaderTimeout)
}

// await sets the deadline of what is awaited: the rest of a request, or the next one.
func (d *deadlines) await() {
	o := &d.of.lane.options
	switch {
	case len(d.of.begun) > 0 && !d.arriving:
		d.arriving = true
		d.setRead(time.Now(), o.HeaderTimeout)
	case len(d.of.begun) == 0 && !d.idleSince.IsZero() && (d.arriving || isDue(o.IdleTimeout, d.readSet, d.idleSince)):
		d.arriving = false
		d.setRead(d.idleSince, o.IdleTimeout)
	}
}

// setRead sets the read deadline to a time after a start; zero: none.
func (d *deadlines) setRead(start time.Time, after time.Duration) {
	var deadline time.Time
	if after > 0 {
		deadline = start.Add(after)
	}
	d.readSet = start
	_ = d.of.SetReadDeadline(deadline)
}

// write sets the deadline of an answer.
func (d *deadlines) write(now time.Time) {
	if timeout := d.of.lane.options.WriteTimeout; isDue(timeout, d.writeSet, now) {
		d.writeSet = now
		_ = d.of.SetWriteDeadline(now.Add(timeout))
	}
}

// isDue reports whether the deadline of a timeout, last set at set, must be set again. A timeout
// may end a second, or a sixteenth of it, early.
func isDue(timeout time.Duration, set, now time.Time) bool {
	return timeout > 0 && now.Sub(set) >= min(time.Second, timeout/16)
}
