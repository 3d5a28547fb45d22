# Prints a table from igproxy's /metrics: requests by grant, outcome and source, and quantiles of
# their durations by grant and source. As in Prometheus, the quantiles are interpolated within the
# buckets of the histogram.

# label returns the value of a label of the current line, or "" if the line does not have the label.
function label(name,  at) {
  at = index($0, name "=\"")
  if (!at) return ""
  at = substr($0, at + length(name) + 2)
  return substr(at, 1, index(at, "\"") - 1)
}

# quantile returns the quantile q of the durations, in milliseconds, or "> BOUND" if the quantile is
# above the highest bound. A key is "GRANT SOURCE", such as "exchange memory".
function quantile(key, q,  want, i, below, lower) {
  want = q * count[key, buckets[key]]
  for (i = 1; i <= buckets[key]; i++) {
    if (count[key, i] >= want) {
      if (bound[key, i] == "+Inf") return sprintf("> %.2f", 1000 * lower)
      return sprintf("%.2f", 1000 * (lower + (bound[key, i] - lower) * (want - below) / (count[key, i] - below)))
    }
    below = count[key, i]
    lower = bound[key, i]
  }
}

/^igproxy_requests_total\{/ && $NF > 0 {
  n = ++rows
  outcome[n] = label("outcome"); from[n] = label("source"); grant[n] = label("grant"); requests[n] = $NF
}

/^igproxy_request_duration_seconds_bucket\{/ {
  key = label("grant") " " label("source")
  i = ++buckets[key]
  bound[key, i] = label("le"); count[key, i] = $NF
}

/^igproxy_upstream_requests_total\{/ { asked += $NF }

END {
  printf "%-12s %-10s %-10s %10s %10s %10s\n", "grant", "outcome", "source", "requests", "p50 ms", "p99 ms"
  for (n = 1; n <= rows; n++) {
    key = grant[n] " " from[n]
    printf "%-12s %-10s %-10s %10d %10s %10s\n", grant[n], outcome[n], from[n], requests[n], quantile(key, .5), quantile(key, .99)
  }
  printf "Instagram was asked %d times.\n", asked
}
