package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
)

func TestCaInitMakesAnAuthorityThatCaShowExplains(t *testing.T) {
	t.Chdir(t.TempDir())
	code, made, stderr := command(t, nil, "ca", "init", "--dir", "ca")
	if code != exitOK || stderr != "" {
		t.Fatalf("exit code %d, want 0; stderr %q, want it empty", code, stderr)
	}
	code, shown, stderr := command(t, nil, "ca", "show", "--dir", "ca")
	if code != exitOK || stderr != "" || shown != made {
		t.Errorf("exit code %d, want 0; stderr %q, want it empty; ca show printed\n%s\nwant the output of ca init\n%s", code, stderr, shown, made)
	}
	dir, _ := filepath.Abs("ca")
	cert, key := filepath.Join(dir, authority.CertFile), filepath.Join(dir, authority.KeyFile)
	for _, want := range []string{"certificate  " + cert + "\n", "key          " + key + "\n", "\nSHA-256      ", "\nends         20", "instagram.com, threads.net, threads.com, facebook.com",
		"ca_file: " + cert, "ca_key_file: " + key, "NODE_EXTRA_CA_CERTS=" + cert, "NODE_USE_ENV_PROXY=1", "REQUESTS_CA_BUNDLE=", "SSL_CERT_FILE=", "openssl.cafile=", "Ruby", "Go", "keytool", ".NET",
		"--cacert " + cert} {
		if !strings.Contains(shown, want) {
			t.Errorf("ca show printed\n%s\nwant %q in it", shown, want)
		}
	}
	if !strings.Contains(shown, "-Djavax.net.ssl.trustStore=") || strings.Contains(shown, "-cacerts") {
		t.Errorf("ca show printed\n%s\nwant -Djavax.net.ssl.trustStore=, not -cacerts, which makes every Java program on the machine trust the authority", shown)
	}
	secret, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(secret)) {
		if strings.Contains(shown, strings.TrimSpace(line)) {
			t.Errorf("ca show printed a line of the key:\n%s", shown)
		}
	}
	// igproxy check accepts the configuration that ca show prints.
	_, snippet, _ := strings.Cut(shown, "For igproxy:\n\n")
	snippet, _, _ = strings.Cut(snippet, "\n\n")
	write(t, "igproxy.yaml", strings.ReplaceAll("\n"+snippet+"\n", "\n  ", "\n"))
	if code, stdout, stderr := command(t, withSecret, "check", "--config", "igproxy.yaml"); code != exitOK || strings.Contains(stdout, "warning") {
		t.Errorf("check: exit code %d, want 0; stdout %q, want no warning; stderr %q", code, stdout, stderr)
	}
	// Clients that run as other users must be able to read the certificate.
	if info, err := os.Stat("ca"); err != nil {
		t.Error(err)
	} else if info.Mode().Perm() != 0o755 {
		t.Errorf("the folder has the mode %04o, want 0755", info.Mode().Perm())
	}
}

func TestCaInitNeverReplacesAFile(t *testing.T) {
	t.Chdir(t.TempDir())
	if code, _, _ := command(t, nil, "ca", "init"); code != exitOK { // in the current folder
		t.Fatalf("exit code %d, want 0", code)
	}
	before, _ := os.ReadFile(authority.KeyFile)
	code, stdout, stderr := command(t, nil, "ca", "init", "--dir", ".")
	if code != exitFailed || stdout != "" || stderr != "igproxy: igproxy-ca.key exists; choose another folder, or remove the file if no client trusts its authority any more\n" {
		t.Errorf("exit code %d, want %d; stdout %q, want it empty; stderr %q, want the error that igproxy-ca.key exists", code, exitFailed, stdout, stderr)
	}
	if after, _ := os.ReadFile(authority.KeyFile); string(after) != string(before) {
		t.Error("the key was replaced")
	}
}

func TestCaSaysWhatIsWrong(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{"one", "other", "mixed"} {
		if err := authority.Create(dir); err != nil {
			t.Fatal(err)
		}
	}
	duplicate := func(from, to string) {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		write(t, to, string(text))
	}
	duplicate("one/"+authority.KeyFile, "mixed/"+authority.KeyFile)
	write(t, "other/"+authority.CertFile, "nonsense "+canary)
	write(t, "file", "")
	here, _ := filepath.Abs(".")
	for line, want := range map[string]struct {
		code int
		text string
	}{
		"ca show --dir none":  {exitUsage, here + "/none/igproxy-ca.pem does not exist; run igproxy ca init, or name another folder with --dir"},
		"ca show":             {exitUsage, here + "/igproxy-ca.pem does not exist; run igproxy ca init, or name another folder with --dir"},
		"ca show --dir mixed": {exitUsage, here + "/mixed/igproxy-ca.key is not the key of " + here + "/mixed/igproxy-ca.pem, or one of the two files is not PEM; run"},
		"ca show --dir other": {exitUsage, here + "/other/igproxy-ca.key is not the key of " + here + "/other/igproxy-ca.pem, or one of the two files is not PEM; run"},
		"ca init --dir file":  {exitFailed, "mkdir file: not a directory"},
		"ca init --dir":       {exitUsage, "flag needs an argument: -dir; see igproxy ca init --help"},
		"ca init here":        {exitUsage, `ca init takes no argument, got "here"; see igproxy ca init --help`},
		"ca show --nope":      {exitUsage, "flag provided but not defined: -nope; see igproxy ca show --help"},
		"ca --nope":           {exitUsage, "flag provided but not defined: -nope; see igproxy ca --help"},
		"ca make":             {exitUsage, `unknown command "make" of igproxy ca; write igproxy ca init or igproxy ca show`},
	} {
		code, stdout, stderr := command(t, nil, strings.Fields(line)...)
		if code != want.code || stdout != "" || !strings.HasPrefix(stderr, "igproxy: "+want.text) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("igproxy %s: exit code %d, want %d; stdout %q, want it empty; stderr %q, want one line that begins with %q", line, code, want.code, stdout, stderr, "igproxy: "+want.text)
		}
	}
	code, stdout, _ := command(t, nil, "ca")
	if code != exitOK || !strings.Contains(stdout, "\n   init  ") || !strings.Contains(stdout, "\n   show  ") {
		t.Errorf("igproxy ca: exit code %d, want 0; it printed\n%s\nwant the subcommands init and show", code, stdout)
	}
}
