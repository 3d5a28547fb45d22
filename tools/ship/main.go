// Command ship checks the deployment files. It uses the code of the programs that read them:
// Kubernetes's types and admission, Compose's schema, BuildKit's parser, GoReleaser's
// configuration, and nfpm, which builds the Debian package. It makes no network requests.
//
//	go run -C tools/ship . REPOSITORY BINARY PACKAGE.deb
//
// REPOSITORY is the folder to check, BINARY the igproxy to package, and PACKAGE.deb the package to
// write. tools/ship-check.sh runs this command.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: ship REPOSITORY BINARY PACKAGE.deb")
		os.Exit(2)
	}
	root, binary, pkg := os.Args[1], os.Args[2], os.Args[3]
	failed := false
	for _, judge := range []struct {
		name string
		run  func() (string, error)
	}{
		{"kubernetes", func() (string, error) { return kubernetes(root) }},
		{"compose", func() (string, error) { return compose(root) }},
		{"Dockerfile", func() (string, error) { return dockerfile(root) }},
		{"goreleaser", func() (string, error) { return release(root, binary, pkg) }},
	} {
		said, err := judge.run()
		if err != nil {
			failed = true
			said = "FAILED: " + err.Error()
		}
		fmt.Printf("%-11s %s\n", judge.name, said)
	}
	if failed {
		os.Exit(1)
	}
}
