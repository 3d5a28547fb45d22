package tracing

import (
	"cmp"
	"net/url"
	"strings"
)

// defaultEndpoint is the specification's.
const defaultEndpoint = "http://localhost:4318"

// Collector returns the host that spans are sent to, or "" if no variable turns tracing on.
func Collector(getenv func(string) string) string {
	exporter, endpoint := getenv("OTEL_TRACES_EXPORTER"), endpointIn(getenv)
	if strings.EqualFold(getenv("OTEL_SDK_DISABLED"), "true") || exporter == "none" || exporter+endpoint == "" {
		return ""
	}
	u, err := url.Parse(cmp.Or(endpoint, defaultEndpoint))
	if err != nil || u.Host == "" {
		return "an endpoint that is not a URL"
	}
	return u.Host
}

func endpointIn(getenv func(string) string) string {
	return cmp.Or(getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), getenv("OTEL_EXPORTER_OTLP_ENDPOINT"))
}
