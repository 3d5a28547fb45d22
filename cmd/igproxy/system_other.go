//go:build !unix

package main

import "io/fs"

// noCoreDumps has nothing to do where there are none.
func noCoreDumps() error { return nil }

func withMode(_ fs.FileMode, bind func()) { bind() }
