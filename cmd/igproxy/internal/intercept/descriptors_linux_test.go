package intercept_test

import (
	"os"
	"testing"
)

func TestEndedConnectionsLeaveNoDescriptorOpen(t *testing.T) {
	open := func() int { list, _ := os.ReadDir("/proc/self/fd"); return len(list) }
	if open() == 0 {
		t.Fatal("/proc/self/fd lists no descriptor")
	}
	p := serve(t, tunnelling(2))
	p.acceptAll(t)
	l := loopback(t)
	p.leadTo(l)
	ended := make(chan struct{})
	go func() { // ends with the listener
		defer close(ended)
		for c, err := l.Accept(); err == nil; c, err = l.Accept() {
			_ = c.Close()
		}
	}()
	before := open()
	for i := range 200 {
		target := []string{meta + ":443", "example.com:443", "example.com:80", "nonsense", "x.example:443"}[i%5]
		c := p.client()
		c.connect(t, target, "", "")
		_ = c.Close()
	}
	eventually(t, "no tunnel is open, and at most 2 more descriptors than before are open", func() bool { return open() <= before+2 && p.Tunnels() == 0 })
	_ = l.Close()
	<-ended
}
