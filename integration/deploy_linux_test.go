package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// systemd's own reading of the units, and its own measure of what the service could do to its machine.
func TestDeploySystemdReadsTheUnitsAndFindsLittleExposed(t *testing.T) {
	service := strings.ReplaceAll(deployed(t, "deploy/systemd/igproxy.service"), "/usr/bin/igproxy", binary)
	path := file(t, "igproxy.service", service)
	socket := filepath.Join(filepath.Dir(path), "igproxy.socket") // where the service looks for it
	if err := os.WriteFile(socket, []byte(deployed(t, "deploy/systemd/igproxy.socket")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", "--man=no", path, socket).CombinedOutput(); err != nil || strings.Contains(string(out), "igproxy") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	claim := regexp.MustCompile("`systemd-analyze security` gives it ([0-9.]+) of 10").FindStringSubmatch(service)
	if claim == nil || !strings.Contains(readme(t), "exposure "+claim[1]+" of 10") {
		t.Fatalf("the service claims %v; README must say the same", claim)
	}
	threshold := strings.Replace(claim[1], ".", "", 1) // 1.1 is 11
	if out, err := exec.CommandContext(t.Context(), "systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+threshold, path).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
