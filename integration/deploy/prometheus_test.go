package deploy

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// promtool checks the configuration of Prometheus and the alert rules. It also runs tests that say
// when each alert must fire, and when it must not.

func TestAlertsFireOnlyWhenTheyShould(t *testing.T) {
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"check", "rules", "alerts.yml"},
		{"test", "rules", "alerts_test.yml"}} {
		ctx, cancel := context.WithTimeout(t.Context(), harness.Patience)
		defer cancel()
		cmd := exec.CommandContext(ctx, "promtool", args...)
		var out bytes.Buffer
		cmd.Dir, cmd.Stdout, cmd.Stderr = "../../deploy/prometheus", &out, &out
		if err := cmd.Run(); err != nil || !strings.Contains(out.String(), "SUCCESS") {
			t.Errorf("promtool %v: %v (make test-all installs what is missing)\n%s", args, err, out.String())
		}
	}
}
