package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// build is what the Go toolchain wrote into the binary.
type build struct{ version, commit, goVersion string }

func readBuild() build {
	b := build{version: "dev", commit: "unknown", goVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.version = v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			b.commit = s.Value
		}
	}
	return b
}

func versionCommand(env environment) *cli.Command {
	return &cli.Command{
		Name:   "version",
		Usage:  "print the version, the commit and Go's version",
		Action: func(*cli.Context) error { return printVersion(env) },
	}
}

func printVersion(env environment) error {
	b := readBuild()
	_, err := fmt.Fprintf(env.stdout, "igproxy %s\ncommit  %s\ngo      %s\n", b.version, b.commit, b.goVersion)
	return err
}
