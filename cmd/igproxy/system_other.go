//go:build !unix

package main

// noCoreDumps has nothing to do where there are none.
func noCoreDumps() error { return nil }
