package integration

// The files in deploy/ name only settings that exist, and igproxy accepts the configurations in
// them. The tests check the other statements in these files as far as possible without a cluster or
// a container engine. `make ship-check` checks the files with the code of the programs that read
// them.

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
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
		t.Fatalf("the files name only %v, want at least 4 settings", named)
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

// accepted runs `igproxy check` with a configuration file and an environment. It first replaces
// each path in them that is a key of secrets by the path of a temporary file that contains the
// value. check must exit with 0 and print exactly these warnings.
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
			t.Errorf("configuration %q: check does not warn of %q", config, w)
		}
	}
	if code != 0 || strings.Count(errs+out, "warning ") != len(warnings) {
		t.Errorf("configuration %q: exit code of check %d, want 0 with %d warnings\n%s%s", config, code, len(warnings), out, errs)
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
		t.Fatalf("the service sets %q, want IGPROXY_CLIENT_SECRET_FILE=%%d/client-secret among these", env)
	}
	accepted(t, "deploy/systemd/igproxy.yaml", env, map[string]string{"%d/client-secret": appSecret})
	listen := regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindStringSubmatch(read(t, "../deploy/systemd/igproxy.socket"))
	if config := parsed[struct{ Listen string }](t, "deploy/systemd/igproxy.yaml"); listen == nil || listen[1] != config.Listen {
		t.Errorf("the socket listens on %v, want the address in the configuration, %s", listen, config.Listen)
	}
	folder := regexp.MustCompile(`(?m)^RuntimeDirectory=(.*)$`).FindStringSubmatch(read(t, "../deploy/systemd/igproxy.service"))
	config := parsed[struct{ Admin struct{ Socket string } }](t, "deploy/systemd/igproxy.yaml")
	if folder == nil || filepath.Dir(config.Admin.Socket) != "/run/"+folder[1] {
		t.Errorf("the service creates the folder %v, want the folder of admin.socket, %q", folder, config.Admin.Socket)
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
		t.Errorf("igproxy's health check is %q, its network %q; want the command healthcheck and the app's network", got, c.Services["igproxy"].NetworkMode)
	}
	socket, tmpfs := c.Services["igproxy"].Environment["IGPROXY_ADMIN_SOCKET"], c.Services["igproxy"].Tmpfs
	if len(tmpfs) != 1 || !strings.HasPrefix(tmpfs[0], filepath.Dir(socket)+":") {
		t.Errorf("admin.socket is %q, and igproxy can write only to %q; want the folder of the socket", socket, tmpfs)
	}
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
			t.Errorf("%s: read_only %v, want true; cap_drop %q, want ALL; security_opt %q, want no-new-privileges:true", name, s.ReadOnly, s.CapDrop, s.SecurityOpt)
		}
		if _, tag, ok := strings.Cut(s.Image, ":"); !ok || tag == "latest" {
			t.Errorf("%s: the image %s has no version", name, s.Image)
		}
	}
	if slices.Contains(c.Services["app"].Secrets, "instagram") {
		t.Error("the app's container has the secret")
	}
}

// The test runs Redis's command and health check from the compose file. It changes only the paths
// and the port, and binds Redis to loopback. igproxy stores an answer in this Redis.
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
	defer func() { // exec has replaced the shell with Redis, so Redis gets the signal
		if err := errors.Join(server.Process.Signal(syscall.SIGTERM), server.Wait()); err != nil {
			t.Errorf("stopping Redis: %v\n%s", err, log.String())
		}
	}()
	eventually(t, "the health check passes", func() bool {
		return exec.CommandContext(t.Context(), "/bin/sh", "-c", here(r.Healthcheck.Test[1])).Run() == nil
	})
	if out, err := exec.CommandContext(t.Context(), "redis-cli", "-p", port, "ping").CombinedOutput(); !strings.Contains(string(out), "NOAUTH") {
		t.Errorf("without the password, Redis replied %s, %v; want NOAUTH", out, err)
	}
	if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", server.Process.Pid)); err == nil && strings.Contains(string(args), redisPassword) {
		t.Error("the password is in the list of processes")
	}
	_, upstream := instagram(t, mock.ServerOptions{})
	p := serve(t, "UPSTREAM_URL="+upstream.URL, "REDIS_MODE=single", "REDIS_URL=redis://127.0.0.1:"+port+"/0", "REDIS_PASSWORD_FILE="+secret)
	if got := p.ask(t, "IGAA-composed"); got.status != 200 {
		t.Errorf("got %d %s, want 200", got.status, got.body)
	}
	eventually(t, "the answer is in Redis", func() bool {
		return strings.Contains(p.page(t, "/metrics").body, `igproxy_cache_stores_total{result="stored",tier="redis"} 1`)
	})
	p.Stop(t)
}

func TestDeployKubernetesConfigurationIsAcceptedAndHidesTheSecret(t *testing.T) {
	t.Parallel()
	accepted(t, "deploy/kubernetes/igproxy.yaml", nil, map[string]string{"/run/secrets/igproxy/client-secret": appSecret},
		"admin.listen: reachable by other machines") // networkpolicy.yaml limits which pods reach it
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
		t.Fatalf("containers %+v, want one; sidecars %+v, want one with restartPolicy: Always", pod.Containers, pod.Sidecars)
	}
	if code, _, errs := command(t, environ(), append(slices.Clone(pod.Sidecars[0].Args[:1]), "--help")...); code != 0 {
		t.Errorf("igproxy %s --help: exit code %d, want 0: %s", pod.Sidecars[0].Args[0], code, errs)
	}
	config := parsed[struct{ Admin struct{ Socket string } }](t, "deploy/kubernetes/igproxy.yaml")
	if mounts := fmt.Sprint(pod.Sidecars[0].Mounts); !strings.Contains(mounts, "mountPath:"+filepath.Dir(config.Admin.Socket)+" ") {
		t.Errorf("admin.socket is %q, and igproxy mounts only %s; want the folder of the socket", config.Admin.Socket, mounts)
	}
	for _, c := range pod.Containers {
		if len(c.Mounts) > 0 {
			t.Errorf("the app's container %s mounts %v, want nothing", c.Name, c.Mounts)
		}
	}
}

// The kubelet and Prometheus send the pod's address in the Host header. An admin listener that
// other machines can reach accepts every Host except Meta's, so allowed_hosts need not contain the
// addresses of pods. The test reads the probes from the manifest.
func TestDeployKubernetesProbesNeedNoEntryInAllowedHosts(t *testing.T) {
	t.Parallel()
	_, upstream := instagram(t, mock.ServerOptions{})
	config := strings.NewReplacer("/run/secrets/igproxy/client-secret", file(t, "client-secret", appSecret),
		"/run/igproxy", t.TempDir(), ":9090", ":0").Replace(read(t, "../deploy/kubernetes/igproxy.yaml"))
	config += "listen: 127.0.0.1:0\nallowed_hosts: [igproxy.internal]\n"
	config = strings.Replace(config, "\nupstream:\n", "\nupstream:\n  url: "+upstream.URL+"\n", 1)
	p := start(t, []string{"PATH=" + os.Getenv("PATH")}, "serve", "--config", file(t, "igproxy.yaml", config))
	p.Listening(t)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.Admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	manifest := read(t, "../deploy/kubernetes/app.yaml")
	paths := regexp.MustCompile(`httpGet: \{path: ([^,]+), port: admin\}`).FindAllStringSubmatch(manifest, -1)
	if len(paths) != 3 {
		t.Fatalf("the manifest has the probes %v, want 3", paths)
	}
	eventually(t, "the client secret is tested", func() bool {
		r, err := fetch(t.Context(), noKeepAlive, p.Admin+"/readyz")
		return err == nil && r.status == http.StatusOK
	})
	for _, path := range append(paths, []string{"", "/metrics"}) {
		for _, host := range []string{"10.1.2.3:9090", "[fd00::7]:9090", "shop-0.shop.svc"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1:"+port+path[1], nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = host
			res, err := noKeepAlive.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = res.Body.Close()
			if res.StatusCode != http.StatusOK {
				t.Errorf("%s with Host %s: got %d, want 200", path[1], host, res.StatusCode)
			}
		}
	}
	if code := p.Stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

// If a workflow named an action by a tag, the owner of the action could move the tag to other code,
// which would run with this repository's token.
func TestWorkflowsPinEveryActionToACommit(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(paths) < 2 {
		t.Fatalf("the workflows are %v, %v; want at least 2", paths, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if strings.Contains(line, "uses:") && !strings.Contains(line, "uses: ./") && !regexp.MustCompile(`uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`).MatchString(line) {
				t.Errorf("%s: got %q, want the action's commit, and its version in a comment", path, strings.TrimSpace(line))
			}
		}
		if !strings.Contains(string(text), "\npermissions:") {
			t.Errorf("%s does not restrict its permissions", path)
		}
	}
}
