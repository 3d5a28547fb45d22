package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// meter measures the share of the two cores that other programs or the machine's host used. Results
// from a busy machine are not reliable.
type meter struct {
	begun time.Time
	busy  float64 // coresBusy at begun
	ours  float64 // spentByUs at begun
}

func newMeter() meter { return meter{time.Now(), coresBusy(), spentByUs()} }

// others returns the share of both cores that other programs and the host have used since newMeter.
// All child processes must have ended, because the time of a running child process would count as
// time of other programs.
func (m meter) others() float64 {
	foreign := (coresBusy() - m.busy) - (spentByUs() - m.ours)
	return max(0, foreign/time.Since(m.begun).Seconds()/2)
}

// coresBusy returns the time, summed over both cores, that programs have used or the host has taken
// since the machine started. See /proc/stat in proc(5).
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
