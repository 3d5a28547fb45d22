//go:build !unix

package sidecar

// NoCoreDumps has nothing to do where there are none.
func NoCoreDumps() error { return nil }
