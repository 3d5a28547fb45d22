package config_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// Opening a named pipe waits for its writer, so igproxy used to hang with upstream.ca_file: ./fifo.
func TestNamedPipeInsteadOfPEMIsRefusedWithoutWaiting(t *testing.T) {
	t.Run("an authority", func(t *testing.T) {
		refusesPipe(t, func() error { _, err := config.ReadCertPool("./fifo"); return err })
	})
	t.Run("a certificate", func(t *testing.T) {
		refusesPipe(t, func() error { _, err := config.ReadKeyPair("./fifo", "./nowhere"); return err })
	})
}

func refusesPipe(t *testing.T, read func() error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile("fifo", os.O_RDWR, 0) // closing it ends a read that has opened the pipe
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- read() }() // ends at the latest when writer is closed
	select {
	case err = <-done:
		_ = writer.Close()
	case <-time.After(10 * time.Second):
		_ = writer.Close()
		<-done
		t.Fatal("waited 10s for the writer of the pipe, want an error at once")
	}
	if err == nil || err.Error() != "./fifo is not a regular file" {
		t.Errorf("got %v, want the error \"./fifo is not a regular file\"", err)
	}
}

func TestAProblemWithASecretOrAFileIsReportedWithoutTheSecret(t *testing.T) {
	expect(t, []input{
		{name: "a secret in the configuration file", yaml: "client_secret: " + canary + "\n", noSecret: true,
			want: []string{"warning: igproxy.yaml:1: client_secret: a secret in the configuration file; use client_secret_file or IGPROXY_CLIENT_SECRET instead"}},
		{name: "a secret set in both ways", yaml: "client_secret: " + canary + "\nclient_secret_file: ./secret\n", noSecret: true,
			want: []string{"warning: igproxy.yaml:1: client_secret: a secret in the configuration file; use client_secret_file or IGPROXY_CLIENT_SECRET instead",
				"igproxy.yaml:1: client_secret: set, and client_secret_file is set too (igproxy.yaml:2); keep one of the two"}},
		{name: "no secret at all", noSecret: true,
			want: []string{"client_secret: no client secret; set IGPROXY_CLIENT_SECRET_FILE (or client_secret_file) to the path of a file that holds it, or IGPROXY_CLIENT_SECRET to the secret itself"}},
		{name: "a short secret", env: []string{"IGPROXY_CLIENT_SECRET=short"}, noSecret: true,
			want: []string{"environment: IGPROXY_CLIENT_SECRET: contains fewer than 8 characters; copy the whole secret from Meta's dashboard"}},
		{name: "a secret with a space", env: []string{"IGPROXY_CLIENT_SECRET=two halves of it"}, noSecret: true,
			want: []string{"environment: IGPROXY_CLIENT_SECRET: contains a space, a line break or a control character; remove it"}},
		{name: "a secret with a space, in the configuration file", yaml: "client_secret: two halves of it\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret: contains a space, a line break or a control character; remove it",
				"warning: igproxy.yaml:1: client_secret: a secret in the configuration file; use client_secret_file or IGPROXY_CLIENT_SECRET instead"}},
		{name: "a secret in quotation marks, which Docker does not remove from an env file", env: []string{"IGPROXY_CLIENT_SECRET=\"" + canary + "\""}, noSecret: true,
			want: []string{"environment: IGPROXY_CLIENT_SECRET: has quotation marks around it; remove them: Docker env files and secret files are read literally"}},
		{name: "a secret file with a line of an env file", yaml: "client_secret_file: ./assigned\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./assigned begins with NAME=, as a line of an env file does; keep only what follows the equals sign, without quotation marks"}},
		{name: "a token file with a line of an env file", yaml: "auth:\n  bearer_file: ./assigned\n",
			want: []string{"igproxy.yaml:2: auth.bearer_file: ./assigned begins with NAME=, as a line of an env file does; keep only what follows the equals sign, without quotation marks"}},
		{name: "a password for Redis in quotation marks", env: []string{"IGPROXY_REDIS_MODE=single", "IGPROXY_REDIS_ADDRS=localhost:1", "IGPROXY_REDIS_PASSWORD='" + canary + "'"},
			want: []string{"warning: environment: IGPROXY_REDIS_PASSWORD: has quotation marks around it; remove them: Docker env files and secret files are read literally"}},
		{name: "a password file with a line of an env file", yaml: "redis:\n  mode: single\n  addrs: [localhost:1]\n  password_file: ./assigned\n",
			want: []string{"warning: igproxy.yaml:4: redis.password_file: ./assigned begins with NAME=, as a line of an env file does; keep only what follows the equals sign, without quotation marks"}},
		{name: "base64, which is not an assignment", env: []string{"IGPROXY_CLIENT_SECRET=c2VjcmV0_S==", "IGPROXY_APP_ID=1"}, noSecret: true},
		{name: "a password for Redis in two places", yaml: "redis:\n  mode: single\n  addrs: [localhost:1]\n  password_file: ./secret\n", env: []string{"IGPROXY_REDIS_PASSWORD=" + canary},
			want: []string{"environment: IGPROXY_REDIS_PASSWORD: redis.password_file is set too; keep one of the two"}},
		{name: "a secret file that is missing", yaml: "client_secret_file: ./nowhere\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./nowhere does not exist; create it, or correct the path"}},
		{name: "a secret file that is empty", yaml: "client_secret_file: ./empty\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./empty contains no secret; write the secret into it"}},
		{name: "a secret file with a newline only", yaml: "client_secret_file: ./newline\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./newline contains no secret; write the secret into it"}},
		{name: "a secret file that is a directory", yaml: "client_secret_file: ./folder\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./folder is not a regular file; name a regular file"}},
		{name: "a secret file that is a named pipe", yaml: "client_secret_file: ./fifo\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./fifo is a pipe that nothing writes to; first start the program that writes the secret, or use a file"}},
		{name: "a secret file that every user can read", yaml: "client_secret_file: ./public\n", noSecret: true,
			want: []string{"warning: igproxy.yaml:1: client_secret_file: ./public can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		{name: "a webhook secret's file that every user can read", yaml: "webhook_secret_file: ./public\n",
			want: []string{"warning: igproxy.yaml:1: webhook_secret_file: ./public can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		{name: "a webhook secret instead of its path", yaml: "webhook_secret_file: " + canary + "\n",
			want: []string{"igproxy.yaml:1: webhook_secret_file: the file named here does not exist; write a path that begins with / or ./, not the secret itself"}},
		{name: "a secret file with spaces", yaml: "client_secret_file: ./spaces\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./spaces contains a space, a line break or a control character; remove it; a previous secret belongs on a second line"}},
		{name: "a secret file with a byte order mark", yaml: "client_secret_file: ./marked\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./marked contains a character that is not ASCII, perhaps a byte order mark; copy the whole secret from Meta's dashboard"}},
		{name: "a previous secret that is not ASCII", yaml: "client_secret_file: ./rotated\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./rotated contains a character that is not ASCII, perhaps a byte order mark (line 2); copy the whole secret from Meta's dashboard"}},
		{name: "a secret that is not ASCII", env: []string{"IGPROXY_CLIENT_SECRET=ä" + canary}, noSecret: true,
			want: []string{"environment: IGPROXY_CLIENT_SECRET: contains a character that is not ASCII, perhaps a byte order mark; copy the whole secret from Meta's dashboard"}},
		{name: "a secret file with a short secret", yaml: "client_secret_file: ./short\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./short contains fewer than 8 characters; copy the whole secret from Meta's dashboard"}},
		{name: "a secret file that is too large", yaml: "client_secret_file: ./large\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: ./large is larger than 4KiB; name the right file"}},
		{name: "a secret instead of its path", yaml: "client_secret_file: " + canary + "\n", noSecret: true,
			want: []string{"igproxy.yaml:1: client_secret_file: the file named here does not exist; write a path that begins with / or ./, not the secret itself"}},
		{name: "a key file that is too short", yaml: "app_id: \"1\"\ncache:\n  key_file: ./short\n",
			want: []string{"igproxy.yaml:3: cache.key_file: ./short has fewer than 32 bytes; create the file with: head -c 32 /dev/urandom > FILE"}},
		{name: "a file without a certificate", yaml: "upstream:\n  ca_file: ./secret\n",
			want: []string{"igproxy.yaml:2: upstream.ca_file: ./secret has no certificate in PEM; name a file that contains -----BEGIN CERTIFICATE-----"}},
		{name: "a ca_file that is a directory", yaml: "upstream:\n  ca_file: ./folder\n",
			want: []string{"igproxy.yaml:2: upstream.ca_file: ./folder is not a regular file; name a regular file"}},
		{name: "a ca_file that is a named pipe", yaml: "upstream:\n  ca_file: ./fifo\n",
			want: []string{"igproxy.yaml:2: upstream.ca_file: ./fifo is not a regular file; name a regular file"}},
		{name: "a missing password file for Redis", yaml: "redis:\n  mode: single\n  addrs: [localhost:1]\n  password_file: ./nowhere\n",
			want: []string{"igproxy.yaml:4: redis.password_file: ./nowhere does not exist; create it, or correct the path"}},
	})
}

// Kubernetes mounts a secret as a link to ..data/NAME, where ..data is a link to a folder.
func TestASecretIsReadThroughSymbolicLinks(t *testing.T) {
	configFiles(t)
	for link, target := range map[string]string{"..data": ".", "linked": "..data/secret"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := config.ReadSecret("./linked"); err != nil || got.Reveal() != canary {
		t.Errorf("got %q (error: %v), want %q", got.Reveal(), err, canary)
	}
}
