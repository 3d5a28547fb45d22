package main

import (
	"runtime"
	"runtime/debug"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

// readBuild returns the versions and the commit that the Go toolchain wrote into the binary.
func readBuild() sidecar.Build {
	b := sidecar.Build{Version: "dev", Commit: "unknown", Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.Commit = s.Value
		}
	}
	return b
}
