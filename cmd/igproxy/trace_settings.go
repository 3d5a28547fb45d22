package main

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/igproxy/igproxy/proxy"
)

// TraceConfig is what OpenTelemetry's own variables say. They are standard, and set for many programs at once, so they have no IGPROXY_
// names and no rows in the table: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables.
type TraceConfig struct {
	URL     string // where spans are posted; empty: traces are off
	To      string // its host
	Queue   int    // spans that may wait
	Timeout time.Duration
	Gzip    bool
	Headers proxy.Secret // as the variable has them; a credential is one of them
	CAFile  string       // the only authorities believed for it; empty: the system's

	CertFile, KeyFile string // igproxy's own, where it asks for one
}

// The names of the variables begin so.
const (
	otelOTLP   = "OTEL_EXPORTER_OTLP_"
	otelTraces = otelOTLP + "TRACES_"
)

// The specification's defaults.
const (
	defaultQueue   = 2048
	defaultTimeout = 10 * time.Second
)

// otelEnvironment are the variables; the last one of a name wins.
type otelEnvironment map[string]string

// exporter is a setting of the exporter's, and the variable that has it: one for traces wins over one for all signals.
func (e otelEnvironment) exporter(setting string) (name, value string) {
	if value := e[otelTraces+setting]; value != "" {
		return otelTraces + setting, value
	}
	return otelOTLP + setting, e[otelOTLP+setting]
}

// traces decides whether there are traces, and checks what the library would else pass over in silence, or log with the value in it. No
// message repeats a value: headers hold credentials.
func (l *loader) traces(environ []string) {
	e := otelEnvironment{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, "OTEL_") {
			e[name] = strings.TrimSpace(value)
		}
	}
	name, endpoint := e.exporter("ENDPOINT")
	exporter := e["OTEL_TRACES_EXPORTER"]
	switch {
	case strings.EqualFold(e["OTEL_SDK_DISABLED"], "true"), exporter == "none", exporter == "" && endpoint == "":
		return
	case exporter != "" && exporter != "otlp":
		l.warnOfVariable("OTEL_TRACES_EXPORTER", fault{"igproxy sends traces by otlp only, so they are off", "write otlp or none"})
		return
	}
	to, f := endpointOf(name, endpoint)
	if f != nil {
		l.reportVariable(name, *f)
		return
	}
	l.config.Traces = TraceConfig{URL: to.String(), To: to.Host, Queue: defaultQueue, Timeout: defaultTimeout}
	l.traceExporter(e, to)
	l.traceNumbers(e)
	l.traceSampler(e)
	if _, f := pairs(e["OTEL_RESOURCE_ATTRIBUTES"]); f != nil {
		l.warnOfVariable("OTEL_RESOURCE_ATTRIBUTES", *f)
	}
}

// reportVariable is report for a variable that is not ours.
func (l *loader) reportVariable(name string, f fault) {
	l.report(place{source: fromEnvironment}, "", fault{name + ": " + f.what, f.fix})
}

func (l *loader) warnOfVariable(name string, f fault) {
	l.warn(place{source: fromEnvironment}, "", fault{name + ": " + f.what, f.fix})
}

// endpointOf is where spans go: for traces' own variable as it stands, for that of all signals below it.
func endpointOf(name, endpoint string) (*url.URL, *fault) {
	if endpoint == "" {
		endpoint = "http://localhost:4318"
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || !isHost(u.Hostname()) || u.Port() != "" && !isPort(u.Port(), 1):
		return nil, &fault{"not an http or https URL", "write the collector's, such as http://localhost:4318"}
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || strings.Contains(endpoint, "#"):
		return nil, &fault{"it has a user, a query or a fragment", "write credentials in " + otelOTLP + "HEADERS"}
	case name == otelTraces+"ENDPOINT" && u.Path == "":
		u.Path = "/"
	case name != otelTraces+"ENDPOINT":
		u = u.JoinPath("v1/traces")
	}
	return u, nil
}

// traceExporter checks the settings of the connection.
func (l *loader) traceExporter(e otelEnvironment, to *url.URL) {
	if name, protocol := e.exporter("PROTOCOL"); protocol != "" && protocol != "http/json" {
		l.reportVariable(name, fault{"igproxy speaks http/json only", "write http/json, and the collector's port for HTTP, which mostly is 4318"})
	}
	name, compression := e.exporter("COMPRESSION")
	if l.config.Traces.Gzip = compression == "gzip"; compression != "" && compression != "gzip" && compression != "none" {
		l.reportVariable(name, fault{"not a compression", "write gzip or none"})
	}
	name, headers := e.exporter("HEADERS")
	l.config.Traces.Headers = proxy.NewSecret(headers)
	if _, f := pairs(headers); f != nil {
		l.reportVariable(name, *f)
	} else if headers != "" && to.Scheme == "http" && !isLoopback(to.Hostname()) {
		l.warnOfVariable(name, fault{"a credential in it would travel unencrypted", "use a collector at https://, or one on this machine"})
	}
	authority, caFile := e.exporter("CERTIFICATE")
	if caFile != "" {
		l.config.Traces.CAFile = caFile
		l.traceFile(authority, to, func() error { _, err := readCertPool(caFile); return err })
	}
	certName, cert := e.exporter("CLIENT_CERTIFICATE")
	keyName, key := e.exporter("CLIENT_KEY")
	switch {
	case cert != "" && key != "":
		l.config.Traces.CertFile, l.config.Traces.KeyFile = cert, key
		l.traceFile(keyName, to, func() error { _, err := readKeyPair(cert, key); return err })
	case cert != "":
		l.reportVariable(certName, fault{"set without its key", "set " + keyName + " too"})
	case key != "":
		l.reportVariable(keyName, fault{"set without its certificate", "set " + certName + " too"})
	}
}

func (l *loader) traceFile(name string, to *url.URL, read func() error) {
	var f *fileError
	if to.Scheme == "http" {
		l.reportVariable(name, fault{"set, but the collector is not asked over TLS", "write https:// in its URL, or remove this"})
	} else if errors.As(read(), &f) {
		l.reportVariable(name, fault{f.Error(), f.fix})
	}
}

// traceNumbers checks what the library would take as its default, or panic at.
func (l *loader) traceNumbers(e otelEnvironment) {
	const hour = 3_600_000 // milliseconds
	timeout, _ := e.exporter("TIMEOUT")
	for _, n := range []struct {
		name string
		most int
	}{{"OTEL_BSP_MAX_QUEUE_SIZE", 100_000}, {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 100_000}, {"OTEL_BSP_SCHEDULE_DELAY", hour}, {"OTEL_BSP_EXPORT_TIMEOUT", hour}, {timeout, hour}} {
		value := e[n.name]
		if value == "" {
			continue
		}
		number, err := strconv.Atoi(value)
		if err != nil || number < 1 || number > n.most {
			l.reportVariable(n.name, fault{"not a whole number between 1 and " + strconv.Itoa(n.most), "write one, without a unit, or remove it"})
			continue
		}
		switch n.name {
		case "OTEL_BSP_MAX_QUEUE_SIZE":
			l.config.Traces.Queue = number
		case timeout:
			l.config.Traces.Timeout = time.Duration(number) * time.Millisecond
		}
	}
}

// traceSampler checks the choice of requests that are traced.
func (l *loader) traceSampler(e otelEnvironment) {
	switch strings.ToLower(e["OTEL_TRACES_SAMPLER"]) {
	case "", "always_on", "always_off", "parentbased_always_on", "parentbased_always_off":
	case "traceidratio", "parentbased_traceidratio":
		if ratio, err := strconv.ParseFloat(e["OTEL_TRACES_SAMPLER_ARG"], 64); e["OTEL_TRACES_SAMPLER_ARG"] != "" && (err != nil || !(ratio >= 0 && ratio <= 1)) {
			l.reportVariable("OTEL_TRACES_SAMPLER_ARG", fault{"not a fraction", "write the share of requests to trace, from 0 to 1"})
		}
	default:
		l.reportVariable("OTEL_TRACES_SAMPLER", fault{"not a sampler", "write always_on, always_off, traceidratio, or one of these with parentbased_ in front"})
	}
}

// pairs reads a list of name=value with commas between, values percent-encoded.
func pairs(list string) (http.Header, *fault) {
	all := http.Header{}
	if list == "" {
		return all, nil
	}
	for pair := range strings.SplitSeq(list, ",") {
		name, value, ok := strings.Cut(pair, "=")
		name = strings.TrimSpace(name)
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil || name == "" || strings.ContainsFunc(name, notOfAName) || strings.ContainsFunc(value, unicode.IsControl) {
			return nil, &fault{"not a list of name=value", "write name=value,name=value; in values, write a comma as %2C and a % as %25"}
		}
		all.Set(name, value)
	}
	return all, nil
}

// notOfAName is what the name of a header cannot have: RFC 9110, section 5.6.2.
func notOfAName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

// traceWords says in check where traces go.
func traceWords(c Config) string {
	if c.Traces.URL == "" {
		return "off"
	}
	return "on, to " + c.Traces.To
}
