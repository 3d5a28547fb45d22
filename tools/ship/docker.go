package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// dockerfile parses the Dockerfile with BuildKit's parser, and checks that the image is based on
// scratch. The parser applies only a few of BuildKit's lint rules, such as StageNameCasing.
// BuildKit applies the other rules when it builds the image.
func dockerfile(root string) (string, error) {
	f, err := os.Open(filepath.Join(root, "deploy/docker/Dockerfile"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	parsed, err := parser.Parse(f)
	if err != nil {
		return "", err
	}
	var found []error
	lint := linter.New(&linter.Config{Warn: func(rule, description, _, message string, at []parser.Range) {
		found = append(found, fmt.Errorf("%s: %s (%s) at %v", rule, message, description, at))
	}})
	stages, _, err := instructions.Parse(parsed.AST, lint)
	if err != nil {
		return "", err
	}
	if last := stages[len(stages)-1]; last.BaseName != "scratch" {
		found = append(found, fmt.Errorf("the image is based on %s, want scratch", last.BaseName))
	}
	return fmt.Sprintf("parsed by BuildKit's own code, %d stages", len(stages)), errors.Join(found...)
}
