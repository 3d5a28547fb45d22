package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/authority"
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

func caCommand(env environment) *cli.Command {
	dir := func(usage string) []cli.Flag {
		return []cli.Flag{&cli.StringFlag{Name: "dir", Value: ".", Usage: usage}}
	}
	initialise := &cli.Command{
		Name:  "init",
		Usage: "make an authority",
		Description: "Writes " + authority.CertFile + ", which clients must trust, and " + authority.KeyFile + ", which\n" +
			"only igproxy may read. Name constraints in the certificate limit the authority to\n" +
			"Meta's domains: clients that check these constraints refuse certificates\n" +
			"of this authority for other sites. The command never replaces a file.",
		Flags: dir("write the files to `FOLDER`"),
		Action: func(c *cli.Context) error {
			if err := authority.Create(c.String("dir")); err != nil {
				return err
			}
			return showAuthority(env, c.String("dir"))
		},
	}
	show := &cli.Command{
		Name:        "show",
		Usage:       "show an authority, and how to make clients trust it",
		Description: "Checks the files in the folder, and prints the authority's fingerprint, expiry and\nconstraints, and what to set for each kind of client.",
		Flags:       dir("the `FOLDER` with " + authority.CertFile + " and " + authority.KeyFile),
		Action:      func(c *cli.Context) error { return showAuthority(env, c.String("dir")) },
	}
	for _, c := range []*cli.Command{initialise, show} {
		refuseArguments(c)
	}
	return &cli.Command{
		Name:  "ca",
		Usage: "make and show the certificate authority for intercepting calls to Meta's hosts",
		Description: "Clients that cannot change their base URL use intercept.listen as their\n" +
			"HTTPS_PROXY, and must trust this authority. docs/intercept.md explains how.",
		Subcommands:        []*cli.Command{initialise, show},
		HideHelpCommand:    true,
		OnUsageError:       onUsageError,
		CustomHelpTemplate: caHelp, // with urfave/cli's own template, igproxy help ca does not list the subcommands
		Action: func(c *cli.Context) error {
			if name := c.Args().First(); name != "" {
				return usageError("unknown command %q of igproxy ca; write igproxy ca init or igproxy ca show", name)
			}
			return cli.ShowSubcommandHelp(c)
		},
	}
}

const caHelp = `NAME:
   {{.HelpName}} - {{.Usage}}

USAGE:
   {{.HelpName}} command [--dir FOLDER]

DESCRIPTION:
   {{indent 3 .Description | trim}}

COMMANDS:{{range .Subcommands}}{{if ne .Name "help"}}
   {{.Name}}  {{.Usage}}{{end}}{{end}}
`

// trustLines says what to set for each kind of client. It is a format with three arguments, all of
// them paths: the authority's certificate, a bundle of the system's authorities and this one, and a
// trust store for Java.
const trustLines = `Clients reach igproxy with  HTTPS_PROXY=http://127.0.0.1:8082  (intercept.listen), and trust the authority with:

  Node.js         NODE_EXTRA_CA_CERTS=%[1]s NODE_USE_ENV_PROXY=1 (Node.js 22.21 or 24.5, or later)
  Python          REQUESTS_CA_BUNDLE=%[2]s SSL_CERT_FILE=%[2]s
  PHP             openssl.cafile=%[2]s and curl.cainfo=%[2]s in php.ini
  Ruby, Go        SSL_CERT_FILE=%[2]s (Ruby's net/http reads http_proxy instead of HTTPS_PROXY)
  Perl            SSL_CERT_FILE=%[2]s PERL_LWP_SSL_CA_FILE=%[2]s PERL_LWP_ENV_PROXY=1
  Java            -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8082 instead of HTTPS_PROXY, and -Djavax.net.ssl.trustStore=%[3]s
                  (see below); Java's default validator ignores the limits of the authority (docs/intercept.md)
  .NET            SSL_CERT_FILE=%[2]s
  curl            --cacert %[1]s, or CURL_CA_BUNDLE=%[2]s

The file bundle.pem replaces the system's authorities, so it must contain them too:

  cat /etc/ssl/certs/ca-certificates.crt %[1]s > %[2]s

The trust store for Java is a copy of Java's own authorities, with this authority added:

  cp "$JAVA_HOME/lib/security/cacerts" %[3]s
  keytool -importcert -keystore %[3]s -storepass changeit -alias igproxy -file %[1]s
`

// showAuthority describes the authority in a folder, and prints how to configure igproxy and
// clients with it.
func showAuthority(env environment, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	cert, key := filepath.Join(dir, authority.CertFile), filepath.Join(dir, authority.KeyFile)
	a, err := config.ReadAuthority(cert, key)
	if err != nil {
		return usageError("%v; run igproxy ca init, or name another folder with --dir", err)
	}
	fmt.Fprintf(env.stdout, "certificate  %s\nkey          %s\nSHA-256      %s\nends         %s\npermits      %s and their subdomains; no IP addresses, no intermediate authorities\n\n",
		cert, key, a.Fingerprint(), a.Ends().UTC().Format(time.DateOnly), strings.Join(authority.Domains, ", "))
	fmt.Fprintf(env.stdout, "For igproxy:\n\n  intercept:\n    listen: 127.0.0.1:8082\n    ca_file: %s\n    ca_key_file: %s\n\n", cert, key)
	fmt.Fprintf(env.stdout, trustLines, cert, filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "trust.jks"))
	return nil
}
