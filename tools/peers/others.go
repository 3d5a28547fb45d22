package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// meter tells how much of the two cores other programs had, or the machine's host: nothing here should be believed of a busy machine.
type meter struct {
	begun time.Time
	busy  float64 // of the cores, in seconds
	ours  float64
}

func newMeter() meter { return meter{time.Now(), coresBusy(), spentByUs()} }

// others is their share of both cores since then. What was started must have ended: only then it is counted as ours.
func (m meter) others() float64 {
	foreign := (coresBusy() - m.busy) - (spentByUs() - m.ours)
	return max(0, foreign/time.Since(m.begun).Seconds()/2)
}

// coresBusy is what both cores have done for programs so far, and not done at all because the host took them. See proc(5).
func coresBusy() (seconds float64) {
	text, _ := os.ReadFile("/proc/stat")
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) < 9 || fields[0] != "cpu"+serverCore && fields[0] != "cpu"+loadCore {
			continue
		}
		for _, i := range []int{1, 2, 3, 8} { // user, nice, system, steal
			n, _ := strconv.Atoi(fields[i])
			seconds += float64(n) / ticks
		}
	}
	return seconds
}

func spentByUs() (seconds float64) {
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var used syscall.Rusage
		if syscall.Getrusage(who, &used) == nil {
			seconds += time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
		}
	}
	return seconds
}
