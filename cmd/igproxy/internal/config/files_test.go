package config_test

import (
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// Opening a named pipe waits for its writer: serve, check and healthcheck hung at upstream.ca_file: ./fifo, and at redis.key_file: ./fifo.
func TestANamedPipeInPlaceOfPEMIsRefusedAndNotWaitedFor(t *testing.T) {
	t.Run("an authority", func(t *testing.T) {
		refusesPipe(t, func() error { _, err := config.ReadCertPool("fifo"); return err })
	})
	t.Run("a certificate", func(t *testing.T) {
		refusesPipe(t, func() error { _, err := config.ReadKeyPair("fifo", "nowhere"); return err })
	})
}

func refusesPipe(t *testing.T, read func() error) {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := syscall.Mkfifo("fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile("fifo", os.O_RDWR, 0) // lets a reader that does open it go on, and read nothing
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- read() }() // ends when the pipe is closed, at the latest
	select {
	case err = <-done:
		_ = writer.Close()
	case <-time.After(10 * time.Second):
		_ = writer.Close()
		<-done
		t.Fatal("the pipe was opened, and waited for")
	}
	if err == nil || err.Error() != "fifo is not a regular file" {
		t.Errorf("got %v, want that it is not a regular file", err)
	}
}

func TestASecretThatCannotBeReadIsToldWithoutItsContent(t *testing.T) {
	expect(t, []input{
		{name: "a secret in the file", yaml: "client_secret: " + canary + "\n", noSecret: true,
			says: []string{"warning: igproxy.yaml:1: client_secret: a secret in the configuration file; keep secrets out of the file: use client_secret_file or IGPROXY_CLIENT_SECRET"}},
		{name: "a secret both ways", yaml: "client_secret: " + canary + "\nclient_secret_file: ./secret\n", noSecret: true,
			says: []string{"warning: igproxy.yaml:1: client_secret: a secret in the configuration file; keep secrets out of the file: use client_secret_file or IGPROXY_CLIENT_SECRET",
				"igproxy.yaml:1: client_secret: set here, and client_secret_file is set too (igproxy.yaml:2); keep one of the two"}},
		{name: "no secret at all", noSecret: true,
			says: []string{"client_secret: no client secret; set IGPROXY_CLIENT_SECRET_FILE (or client_secret_file) to a file that holds it, or IGPROXY_CLIENT_SECRET"}},
		{name: "a short secret", env: []string{"IGPROXY_CLIENT_SECRET=short"}, noSecret: true,
			says: []string{"environment: IGPROXY_CLIENT_SECRET: holds fewer than 8 characters, so it cannot be an Instagram app's secret; copy the whole secret from Meta's dashboard"}},
		{name: "a secret with a blank", env: []string{"IGPROXY_CLIENT_SECRET=two halves of it"}, noSecret: true,
			says: []string{"environment: IGPROXY_CLIENT_SECRET: holds a blank, a line break or a control character; it must hold the secret and at most one newline after it"}},
		{name: "a secret file that is missing", yaml: "client_secret_file: ./nowhere\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./nowhere does not exist; create it, or correct the path"}},
		{name: "a secret file that is empty", yaml: "client_secret_file: ./empty\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./empty is empty; write the secret into it"}},
		{name: "a secret file with a newline only", yaml: "client_secret_file: ./newline\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./newline holds no secret; write the secret into it"}},
		{name: "a secret file that is a directory", yaml: "client_secret_file: ./folder\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./folder is not a regular file; name a file that holds nothing but the secret"}},
		{name: "a secret file that is a named pipe", yaml: "client_secret_file: ./fifo\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./fifo is not a regular file; name a file that holds nothing but the secret"}},
		{name: "a secret file for everybody", yaml: "client_secret_file: ./public\n", noSecret: true,
			says: []string{"warning: igproxy.yaml:1: client_secret_file: ./public can be read by every user of this machine; chmod o-r it (Kubernetes: defaultMode: 0440)"}},
		{name: "a secret file with blanks", yaml: "client_secret_file: ./blanks\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./blanks holds a blank, a line break or a control character; it must hold the secret and at most one newline after it"}},
		{name: "a secret file with a byte order mark", yaml: "client_secret_file: ./marked\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./marked is not plain ASCII, perhaps a byte order mark; write it without"}},
		{name: "a previous secret that is not ASCII", yaml: "client_secret_file: ./rotated\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./rotated is not plain ASCII, perhaps a byte order mark; write it without"}},
		{name: "a secret that is not ASCII", env: []string{"IGPROXY_CLIENT_SECRET=ä" + canary}, noSecret: true,
			says: []string{"environment: IGPROXY_CLIENT_SECRET: is not plain ASCII, perhaps a byte order mark; write it without"}},
		{name: "a secret file with a short one", yaml: "client_secret_file: ./short\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./short holds fewer than 8 characters, so it cannot be an Instagram app's secret; copy the whole secret from Meta's dashboard"}},
		{name: "a secret file that is too large", yaml: "client_secret_file: ./large\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: ./large is larger than 4KiB; name the right file"}},
		{name: "a secret where its path belongs", yaml: "client_secret_file: " + canary + "\n", noSecret: true,
			says: []string{"igproxy.yaml:1: client_secret_file: the file named here does not exist; write a path here, beginning with / or ./, and not the secret itself"}},
		{name: "a key file that is too short", yaml: "cache:\n  key_file: ./short\n",
			says: []string{"igproxy.yaml:2: cache.key_file: ./short holds fewer than 32 bytes; make one with: head -c 32 /dev/urandom"}},
		{name: "an authority that is none", yaml: "upstream:\n  ca_file: ./secret\n",
			says: []string{"igproxy.yaml:2: upstream.ca_file: ./secret holds no certificate in PEM; name a file with -----BEGIN CERTIFICATE----- in it"}},
		{name: "an authority that is a directory", yaml: "upstream:\n  ca_file: ./folder\n",
			says: []string{"igproxy.yaml:2: upstream.ca_file: ./folder is a directory; name a file"}},
		{name: "an authority that is a named pipe", yaml: "upstream:\n  ca_file: ./fifo\n",
			says: []string{"igproxy.yaml:2: upstream.ca_file: ./fifo is not a regular file; name a file with -----BEGIN in it"}},
		{name: "a password file that is missing, for Redis", yaml: "redis:\n  mode: single\n  addrs: [a:1]\n  password_file: ./nowhere\n",
			says: []string{"igproxy.yaml:4: redis.password_file: ./nowhere does not exist; create it, or correct the path"}},
	})
}

// Kubernetes mounts a secret as a link to a link, and swaps the inner one.
func TestALinkedSecretIsFollowed(t *testing.T) {
	configFiles(t)
	for link, target := range map[string]string{"..data": ".", "linked": "..data/secret"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := config.ReadSecret("./linked"); err != nil || got.Reveal() != canary {
		t.Errorf("got %q, %v", got.Reveal(), err)
	}
}
