package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/goreleaser/goreleaser/v2/pkg/config"
	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // registers the Debian format
	"github.com/goreleaser/nfpm/v2/files"
)

// release reads .goreleaser.yaml with GoReleaser's own code and builds the Debian package that the
// file describes, as GoReleaser does for amd64. It also checks that the file asks for SBOMs and
// signatures. It returns the line for the report.
func release(root, binary, pkg string) (string, error) {
	project, err := config.Load(filepath.Join(root, ".goreleaser.yaml"))
	if err != nil {
		return "", err
	}
	if len(project.NFPMs) != 1 || len(project.SBOMs) == 0 || len(project.Signs) == 0 {
		return "", fmt.Errorf(".goreleaser.yaml: %d packages, want 1; %d SBOMs, want at least 1; %d signatures, want at least 1", len(project.NFPMs), len(project.SBOMs), len(project.Signs))
	}
	info := describe(root, binary, project.NFPMs[0])
	packager, err := nfpm.Get("deb")
	if err != nil {
		return "", err
	}
	if err := nfpm.PrepareForPackager(info, "deb"); err != nil {
		return "", err
	}
	f, err := os.Create(pkg)
	if err != nil {
		return "", err
	}
	if err := packager.Package(info, f); err != nil {
		return "", err
	}
	return "read by GoReleaser's own code, packaged by nfpm", f.Close()
}

// describe returns what GoReleaser passes to nfpm, but with a fixed version and fixed times, so
// that the same files give the same package.
func describe(root, binary string, c config.NFPM) *nfpm.Info {
	made := time.Unix(0, 0).UTC()
	info := &nfpm.Info{Name: c.PackageName, Arch: "amd64", Platform: "linux", Version: "0.0.0", Section: c.Section, Maintainer: c.Maintainer,
		Description: c.Description, Vendor: c.Vendor, Homepage: c.Homepage, License: c.License, MTime: made}
	info.Recommends, info.Suggests = c.Recommends, c.Suggests
	info.Scripts = nfpm.Scripts{PostInstall: filepath.Join(root, c.Scripts.PostInstall), PreRemove: filepath.Join(root, c.Scripts.PreRemove),
		PostRemove: filepath.Join(root, c.Scripts.PostRemove)}
	add := func(source, destination, kind string, mode fs.FileMode) {
		info.Contents = append(info.Contents, &files.Content{Source: source, Destination: destination, Type: kind,
			FileInfo: &files.ContentFileInfo{Mode: mode, MTime: made, Owner: "root", Group: "root"}})
	}
	add(binary, filepath.Join(c.Bindir, "igproxy"), "", 0o755)
	for _, f := range c.Contents {
		add(filepath.Join(root, f.Source), f.Destination, f.Type, f.FileInfo.Mode)
	}
	return nfpm.WithDefaults(info)
}
