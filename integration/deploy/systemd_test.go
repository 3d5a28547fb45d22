package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// systemd-analyze verifies the units and rates how exposed the service is.
func TestDeploySystemdUnitsAreValidAndHaveLowExposure(t *testing.T) {
	service := strings.ReplaceAll(read(t, "../../deploy/systemd/igproxy.service"), "/usr/bin/igproxy", harness.Binary)
	path := harness.File(t, "igproxy.service", service)
	socket := filepath.Join(filepath.Dir(path), "igproxy.socket") // systemd-analyze looks for it beside the service
	if err := os.WriteFile(socket, []byte(read(t, "../../deploy/systemd/igproxy.socket")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", path, socket).CombinedOutput(); err != nil || strings.Contains(string(out), "igproxy") {
		t.Errorf("systemd-analyze verify: %v, want no error and no line about igproxy\n%s", err, out)
	}
	stated := regexp.MustCompile("`systemd-analyze security` gives it ([0-9.]+) of 10").FindStringSubmatch(service)
	if stated == nil || !strings.Contains(read(t, "../../README.md"), "exposure "+stated[1]+" of 10") {
		t.Fatalf("igproxy.service states the exposure %q, want the one that README states", stated)
	}
	threshold := strings.Replace(stated[1], ".", "", 1) // systemd-analyze expects 11 for 1.1
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+threshold, path).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security --threshold=%s: %v\n%s", threshold, err, out)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
