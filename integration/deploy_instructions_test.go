package integration

// The instructions in the comments of deploy/ and in docs/install.md work in a fresh clone.

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/integration/harness"
)

// The install commands in docs/install.md put every file where the units expect it, and the rm
// commands at the end of the page remove all of these files. The test runs the commands with paths
// below a temporary folder and without --online. It does not start the service.
func TestInstallPageInstallsWhatTheUnitsNeed(t *testing.T) {
	t.Parallel()
	root, page := t.TempDir(), read(t, "../docs/install.md")
	must(t, os.MkdirAll(filepath.Join(root, "etc/systemd/system"), 0o700))
	must(t, os.MkdirAll(filepath.Join(root, "usr/bin"), 0o700))
	run := func(after string, want ...string) {
		t.Helper()
		_, block, _ := strings.Cut(page, after)
		var script strings.Builder
		for line := range strings.Lines(block) {
			command, _ := strings.CutPrefix(line, "    ")
			if strings.HasPrefix(line, "#") {
				break // the next section
			}
			for _, w := range want {
				if strings.HasPrefix(command, w) {
					command = strings.NewReplacer("=/etc/", "="+root+"/etc/", " /etc/", " "+root+"/etc/", " /usr/", " "+root+"/usr/", " --online", "").Replace(command)
					script.WriteString(strings.NewReplacer("0755 igproxy ", "0755 "+harness.Binary+" ", " igproxy check", " "+root+"/usr/bin/igproxy check").Replace(command))
				}
			}
		}
		if real := regexp.MustCompile(`[ =]/(etc|usr)\S*`).FindString(script.String()); real != "" {
			t.Fatalf("%s is outside the folder of this test", real)
		}
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-e", "-c", script.String())
		cmd.Dir, cmd.Env, cmd.Stdin = "..", []string{"PATH=" + os.Getenv("PATH")}, strings.NewReader(appSecret+"\n")
		if out, err := cmd.CombinedOutput(); err != nil || script.Len() == 0 {
			t.Fatalf("these commands of docs/install.md failed: %v\n%s\n%s", err, script.String(), out)
		}
	}
	files := []string{"etc/systemd/system/igproxy.service", "etc/systemd/system/igproxy.socket"}
	service := read(t, "../deploy/systemd/igproxy.service")
	for _, named := range regexp.MustCompile(`(?m)^(?:ExecStart=|LoadCredential=client-secret:)/(\S+)(?: serve --config /(\S+))?$`).FindAllStringSubmatch(service, -1) {
		files = append(files, slices.DeleteFunc(named[1:], func(s string) bool { return s == "" })...)
	}
	if len(files) != 5 {
		t.Fatalf("the units need the files %v, want 5 files", files)
	}
	run("\n## A systemd service", "install ", "IGPROXY_CLIENT_SECRET_FILE=")
	for _, name := range files {
		if _, err := os.Stat(filepath.Join(root, name)); err != nil {
			t.Error(err)
		}
	}
	run("\n## Upgrade and remove", "rm ")
	for _, name := range files {
		if _, err := os.Stat(filepath.Join(root, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there after the rm commands (%v)", name, err)
		}
	}
}

// In a clone without a folder for secrets, the commands at the top of the compose file create every
// secret that the compose file mounts. They make each secret readable for every user, because
// the containers run as other users.
func TestDeployComposeInstructionsCreateTheSecrets(t *testing.T) {
	t.Parallel()
	commands, _, _ := strings.Cut(read(t, "../deploy/compose/compose.yaml"), "#   docker compose")
	_, commands, _ = strings.Cut(commands, "#\n")
	clone := t.TempDir()
	if err := os.MkdirAll(filepath.Join(clone, "deploy/compose"), 0o700); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-e", "-c", strings.ReplaceAll(commands, "#   ", ""))
	cmd.Dir, cmd.Stdin = clone, strings.NewReader(appSecret+"\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("these commands of compose.yaml failed: %v\n%s\n%s", err, commands, out)
	}
	secrets := parsed[struct {
		Secrets map[string]struct{ File string }
	}](t, "deploy/compose/compose.yaml").Secrets
	if len(secrets) != 2 {
		t.Fatalf("the compose file has the secrets %v, want 2", secrets)
	}
	for name, s := range secrets {
		info, err := os.Stat(filepath.Join(clone, "deploy/compose", s.File))
		if err != nil || info.Mode().Perm() != 0o444 || info.Size() < 16 {
			t.Errorf("the secret %s: %v, %v; want a file with mode 0444 and at least 16 bytes", name, info, err)
		}
	}
}

// There is no released image, so kustomization.yaml names the image that users build themselves.
// The command that builds it is in a comment of kustomization.yaml, and in docs/install.md.
func TestDeployKubernetesNamesTheImageThatIsBuilt(t *testing.T) {
	t.Parallel()
	images := parsed[struct {
		Images []struct {
			Name    string
			NewName string `yaml:"newName"`
			NewTag  string `yaml:"newTag"`
		}
	}](t, "deploy/kubernetes/kustomization.yaml").Images
	if len(images) != 1 || !strings.Contains(read(t, "../deploy/kubernetes/app.yaml"), "image: "+images[0].Name+"\n") {
		t.Fatalf("kustomization.yaml replaces the images %v, want only the image in app.yaml", images)
	}
	build := "docker build -f deploy/docker/Dockerfile -t " + images[0].NewName + ":" + images[0].NewTag + " ."
	for _, page := range []string{"../deploy/kubernetes/kustomization.yaml", "../docs/install.md"} {
		if !strings.Contains(read(t, page), build) {
			t.Errorf("%s does not contain the command %q", page, build)
		}
	}
}
