package tracing

import (
	"net/url"
	"slices"
	"strings"
)

// defaultEndpoint is the specification's.
const defaultEndpoint = "http://localhost:4318"

// Collector returns the host that spans are sent to, or "" when tracing is off, and a warning for
// each variable that turns tracing off because this exporter cannot do what it asks. The variables
// are set for many programs at once, so none of them is an error; no warning repeats a value.
func Collector(getenv func(string) string) (host string, warnings []string) {
	off := func(variable, problem string) (string, []string) {
		return "", []string{variable + ": " + problem + ", so tracing is off"}
	}
	name, endpoint := exporterVariable(getenv, "ENDPOINT")
	exporter := strings.TrimSpace(getenv("OTEL_TRACES_EXPORTER"))
	switch {
	case strings.EqualFold(strings.TrimSpace(getenv("OTEL_SDK_DISABLED")), "true"), exporter == "none", exporter == "" && endpoint == "":
		return "", nil
	case exporter != "" && !slices.Contains(strings.Split(exporter, ","), "otlp"):
		return off("OTEL_TRACES_EXPORTER", "igproxy sends traces only by otlp")
	}
	if variable, protocol := exporterVariable(getenv, "PROTOCOL"); protocol == "grpc" {
		return off(variable, "igproxy sends traces over HTTP (http/protobuf or http/json, usually to port 4318), not gRPC")
	}
	if endpoint == "" {
		endpoint = defaultEndpoint
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return off(name, "not an http or https URL, such as "+defaultEndpoint)
	}
	return u.Host, nil
}

// exporterVariable returns a setting of the exporter and the variable that holds it: the one for
// traces wins over the one for all signals.
func exporterVariable(getenv func(string) string, setting string) (name, value string) {
	name = "OTEL_EXPORTER_OTLP_TRACES_" + setting
	if value = strings.TrimSpace(getenv(name)); value == "" {
		name = "OTEL_EXPORTER_OTLP_" + setting
		value = strings.TrimSpace(getenv(name))
	}
	return name, value
}
