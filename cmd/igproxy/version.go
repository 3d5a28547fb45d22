package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/sidecar"
)

// readBuild returns what the Go toolchain wrote into the binary.
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

func versionCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the version, the commit and the Go version",
		Action: func(*cli.Context) error {
			b := readBuild()
			_, err := fmt.Fprintf(env.stdout, "igproxy %s\ncommit  %s\ngo      %s\n", b.Version, b.Commit, b.Go)
			return err
		},
	}
}
