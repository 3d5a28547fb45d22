package integration

// The files in deploy/ name only settings that exist, igproxy accepts their configurations, and
// their other claims hold as far as a machine without a cluster or a container engine can tell.
// `make ship-check` checks the files further, using the code of the programs that read them.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/igproxy/igproxy/integration/harness"
	"github.com/igproxy/igproxy/proxy/mock"
)

// parsed returns the content of a YAML file.
func parsed[T any](t *testing.T, path string) (v T) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(read(t, "../"+path)), &v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return v
}

func TestDeployFilesNameOnlySettingsThatExist(t *testing.T) {
	t.Parallel()
	const placeholder = "deploy-test"
	named := map[string][]string{}
	look := func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		for _, name := range regexp.MustCompile(`IGPROXY_[A-Z0-9_]*[A-Z0-9]`).FindAllString(string(text), -1) {
			named[name] = append(named[name], path)
		}
		return err
	}
	for _, root := range []string{"../deploy", "../.github"} {
		if err := filepath.WalkDir(root, look); err != nil {
			t.Fatal(err)
		}
	}
	if len(named) < 4 {
		t.Fatalf("only %v are named", named)
	}
	env := without(environ(), "IGPROXY_CLIENT_SECRET")
	for name := range named {
		env = append(env, name+"="+placeholder)
	}
	_, out, errs := command(t, append(env, "IGPROXY_NO_SUCH_SETTING="+placeholder, "IGPROXY_CONFIG="), "check")
	said := out + errs
	for name, paths := range named {
		if name != "IGPROXY_CONFIG" && regexp.MustCompile(name+`: unknown variable`).MatchString(said) {
			t.Errorf("%s names %s, which is not a setting", strings.Join(paths, ", "), name)
		}
	}
	if !strings.Contains(said, "IGPROXY_NO_SUCH_SETTING: unknown variable") {
		t.Errorf("check does not report unknown settings, so this test proves nothing:\n%s", said)
	}
}

// accepted runs `igproxy check` on a configuration file with the given environment. secrets maps
// paths in them to contents; each of these paths is replaced by that of a temporary file with the
// content. The test fails unless check exits with 0 and prints exactly these warnings.
func accepted(t *testing.T, config string, env []string, secrets map[string]string, warnings ...string) {
	t.Helper()
	clean := []string{"PATH=" + os.Getenv("PATH")}
	replace := func(text string) string {
		for path, content := range secrets {
			if strings.Contains(text, path) {
				text = strings.ReplaceAll(text, path, file(t, filepath.Base(path), content))
			}
		}
		return text
	}
	for _, e := range env {
		clean = append(clean, replace(e))
	}
	args := []string{"check"}
	if config != "" {
		args = append(args, "--config", file(t, "igproxy.yaml", replace(read(t, "../"+config))))
	}
	code, out, errs := command(t, clean, args...)
	for _, w := range warnings {
		if !strings.Contains(out, w) {
			t.Errorf("%s: check does not warn of %q", config, w)
		}
	}
	if code != 0 || strings.Count(errs+out, "warning ") != len(warnings) {
		t.Errorf("%s: check exits with %d and says\n%s%s", config, code, out, errs)
	}
}

func TestDeploySystemdConfigurationIsAccepted(t *testing.T) {
	t.Parallel()
	var env []string
	for _, line := range strings.Split(read(t, "../deploy/systemd/igproxy.service"), "\n") {
		if value, ok := strings.CutPrefix(line, "Environment="); ok {
			env = append(env, value)
		}
	}
	if !slices.Contains(env, "IGPROXY_CLIENT_SECRET_FILE=%d/client-secret") {
		t.Fatalf("the service sets %v", env)
	}
	accepted(t, "deploy/systemd/igproxy.yaml", env, map[string]string{"%d/client-secret": appSecret})
	listen := regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindStringSubmatch(read(t, "../deploy/systemd/igproxy.socket"))
	if config := parsed[struct{ Listen string }](t, "deploy/systemd/igproxy.yaml"); listen == nil || listen[1] != config.Listen {
		t.Errorf("the socket listens on %v, the configuration says %s", listen, config.Listen)
	}
	folder := regexp.MustCompile(`(?m)^RuntimeDirectory=(.*)$`).FindStringSubmatch(read(t, "../deploy/systemd/igproxy.service"))
	config := parsed[struct{ Admin struct{ Socket string } }](t, "deploy/systemd/igproxy.yaml")
	if folder == nil || filepath.Dir(config.Admin.Socket) != "/run/"+folder[1] {
		t.Errorf("the service creates %v, admin.socket is %q", folder, config.Admin.Socket)
	}
}

// The commands of docs/install.md put every file where the units expect it, and those at the end
// remove them all. Only the paths differ, and nothing is started.
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
			t.Fatalf("%v\n%s\n%s", err, script.String(), out)
		}
	}
	files := []string{"etc/systemd/system/igproxy.service", "etc/systemd/system/igproxy.socket"}
	service := read(t, "../deploy/systemd/igproxy.service")
	for _, named := range regexp.MustCompile(`(?m)^(?:ExecStart=|LoadCredential=client-secret:)/(\S+)(?: serve --config /(\S+))?$`).FindAllStringSubmatch(service, -1) {
		files = append(files, slices.DeleteFunc(named[1:], func(s string) bool { return s == "" })...)
	}
	if len(files) != 5 {
		t.Fatalf("the service needs %v", files)
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
			t.Errorf("%s is left (%v)", name, err)
		}
	}
}

type composed struct {
	Services map[string]struct {
		Image       string
		Environment map[string]string
		Command     []string
		Healthcheck struct{ Test []string }
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		NetworkMode string   `yaml:"network_mode"`
		Secrets     []string
		Tmpfs       []string
	}
}

func TestDeployComposeConfigurationIsAcceptedAndUnprivileged(t *testing.T) {
	t.Parallel()
	c := parsed[composed](t, "deploy/compose/compose.yaml")
	var env []string
	for name, value := range c.Services["igproxy"].Environment {
		env = append(env, name+"="+value)
	}
	accepted(t, "", env, map[string]string{"/run/secrets/instagram": appSecret, "/run/secrets/redis": redisPassword}, "without TLS")
	if got := c.Services["igproxy"].Healthcheck.Test; !slices.Equal(got, []string{"CMD", "/igproxy", "healthcheck"}) || c.Services["igproxy"].NetworkMode != "service:app" {
		t.Errorf("igproxy's health check is %q, its network %q", got, c.Services["igproxy"].NetworkMode)
	}
	socket, tmpfs := c.Services["igproxy"].Environment["IGPROXY_ADMIN_SOCKET"], c.Services["igproxy"].Tmpfs
	if len(tmpfs) != 1 || !strings.HasPrefix(tmpfs[0], filepath.Dir(socket)+":") {
		t.Errorf("admin.socket is %q, and igproxy can write to %q", socket, tmpfs)
	}
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s has privileges", name)
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: the image %s has no version", name, s.Image)
		}
	}
	if slices.Contains(c.Services["app"].Secrets, "instagram") {
		t.Error("the app sees the secret")
	}
}

// The commands at the top of the compose file create the secrets that it mounts, in a clone that
// has no folder for them, and every container may read them.
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
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
	secrets := parsed[struct {
		Secrets map[string]struct{ File string }
	}](t, "deploy/compose/compose.yaml").Secrets
	if len(secrets) != 2 {
		t.Fatalf("the secrets are %v", secrets)
	}
	for name, s := range secrets {
		info, err := os.Stat(filepath.Join(clone, "deploy/compose", s.File))
		if err != nil || info.Mode().Perm() != 0o444 || info.Size() < 16 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// Redis and igproxy run with the commands and settings of the compose file.
func TestDeployComposeRedisRequiresThePassword(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	_ = l.Close()
	secret := file(t, "redis", redisPassword)
	here := strings.NewReplacer("$$", "$", "/run/secrets/redis", secret, "6379", port, "/tmp", t.TempDir(), "--appendonly", "--bind 127.0.0.1 --appendonly").Replace
	r := parsed[composed](t, "deploy/compose/compose.yaml").Services["redis"]
	server := exec.Command(r.Command[0], r.Command[1], here(r.Command[2]))
	var log harness.Output
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // Redis replaced the shell, so it gets the signal that stops a container
		if err := errors.Join(server.Process.Signal(syscall.SIGTERM), server.Wait()); err != nil {
			t.Errorf("stopping Redis: %v\n%s", err, log.String())
		}
	}()
	eventually(t, "the health check passes", func() bool {
		return exec.CommandContext(t.Context(), "/bin/sh", "-c", here(r.Healthcheck.Test[1])).Run() == nil
	})
	if out, err := exec.CommandContext(t.Context(), "redis-cli", "-p", port, "ping").CombinedOutput(); !strings.Contains(string(out), "NOAUTH") {
		t.Errorf("without the password: %s %v", out, err)
	}
	if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server.Process.Pid)); err == nil && strings.Contains(string(args), redisPassword) {
		t.Error("the password is in the list of processes")
	}
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL=redis://127.0.0.1:"+port+"/0", "REDIS_PASSWORD_FILE="+secret)
	if got := p.ask(t, "IGAA-composed"); got.status != 200 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	eventually(t, "the answer is in Redis", func() bool {
		return strings.Contains(p.page(t, "/metrics").body, `igproxy_cache_stores_total{result="stored",tier="redis"} 1`)
	})
	p.Stop(t)
}

func TestDeployKubernetesConfigurationIsAcceptedAndHidesTheSecret(t *testing.T) {
	t.Parallel()
	accepted(t, "deploy/kubernetes/igproxy.yaml", nil, map[string]string{"/run/secrets/igproxy/client-secret": appSecret},
		"admin.listen: reachable by other machines") // by the pods that networkpolicy.yaml admits
	type container struct {
		Name, Image   string
		Args          []string
		RestartPolicy string `yaml:"restartPolicy"`
		Mounts        []any  `yaml:"volumeMounts"`
	}
	d := parsed[struct {
		Spec struct {
			Template struct {
				Spec struct {
					Sidecars   []container `yaml:"initContainers"`
					Containers []container
				}
			}
		}
	}](t, "deploy/kubernetes/app.yaml")
	pod := d.Spec.Template.Spec
	if len(pod.Containers) != 1 || len(pod.Sidecars) != 1 || pod.Sidecars[0].RestartPolicy != "Always" {
		t.Fatalf("no native sidecar in %+v", pod.Sidecars)
	}
	if code, _, errs := command(t, environ(), append(slices.Clone(pod.Sidecars[0].Args[:1]), "--help")...); code != 0 {
		t.Errorf("%v is not a command: %s", pod.Sidecars[0].Args, errs)
	}
	config := parsed[struct{ Admin struct{ Socket string } }](t, "deploy/kubernetes/igproxy.yaml")
	if mounts := fmt.Sprint(pod.Sidecars[0].Mounts); !strings.Contains(mounts, "mountPath:"+filepath.Dir(config.Admin.Socket)+" ") {
		t.Errorf("admin.socket is %q, and igproxy mounts %s", config.Admin.Socket, mounts)
	}
	for _, c := range pod.Containers {
		if len(c.Mounts) > 0 {
			t.Errorf("the app's container %s mounts %v", c.Name, c.Mounts)
		}
	}
}

// There is no release, so the example names the image that its own comment and docs/install.md
// build.
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
		t.Fatalf("the images are %v", images)
	}
	build := "docker build -f deploy/docker/Dockerfile -t " + images[0].NewName + ":" + images[0].NewTag + " ."
	for _, page := range []string{"../deploy/kubernetes/kustomization.yaml", "../docs/install.md"} {
		if !strings.Contains(read(t, page), build) {
			t.Errorf("%s does not build the image with %q", page, build)
		}
	}
}

// If a workflow named an action by a tag, the owner of the action could move the tag and run other
// code with our token.
func TestWorkflowsPinEveryActionToACommit(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("%v, %v", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, "uses:") && !strings.Contains(line, "uses: ./") && !regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(line) {
				t.Errorf("%s: %s", path, strings.TrimSpace(line))
			}
		}
		if !strings.Contains(string(text), "\npermissions:") {
			t.Errorf("%s does not restrict its permissions", path)
		}
	}
}
