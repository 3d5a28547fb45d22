package main

import (
	"context"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
)

// compose loads deploy/compose as `docker compose config` does. Loading checks the schema and the
// references, and fills in variables. compose also checks that the services app, igproxy and redis
// exist.
func compose(root string) (string, error) {
	options, err := cli.NewProjectOptions([]string{filepath.Join(root, "deploy/compose/compose.yaml")})
	if err != nil {
		return "", err
	}
	project, err := options.LoadProject(context.Background())
	if err != nil {
		return "", err
	}
	if _, err := project.GetServices("app", "igproxy", "redis"); err != nil {
		return "", err
	}
	return "loaded by Compose's own code", nil
}
