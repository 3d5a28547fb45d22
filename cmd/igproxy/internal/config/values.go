package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// maxValue and maxItems bound what a value may be.
const (
	maxValue = 4096 // bytes
	maxItems = 64
)

// set reads the values, one unless the setting is a list, into its field. What it refuses leaves
// the field alone.
func (s setting) set(c *Config, values []string) *fault {
	if field, ok := s.field(c).(*[]string); ok {
		return s.setList(field, values)
	}
	text := values[0]
	if s.secret {
		text = trimNewline(text) // a secret from a Kubernetes Secret or a YAML block often has one
	}
	switch field := s.field(c).(type) {
	case *string:
		if f := s.checkText(text); f != nil {
			return f
		}
		*field = text
	case *bool:
		return s.setSwitch(field, text)
	case *proxy.Secret:
		if f := s.checkText(text); f != nil {
			return f
		}
		*field = proxy.NewSecret(text)
	default:
		return s.setNumber(field, text)
	}
	return nil
}

func (s setting) setList(field *[]string, values []string) *fault {
	if len(values) > maxItems {
		return &fault{"more than " + strconv.Itoa(maxItems) + " items", "keep the ones needed"}
	}
	for _, v := range values {
		if v == "" {
			return &fault{"an empty item in the list", "remove it"}
		}
		if f := s.checkText(v); f != nil {
			return f
		}
	}
	*field = slices.Clone(values)
	return nil
}

// setSwitch takes true and false, and not the yes, on and 1 that only some readers of YAML
// understand.
func (s setting) setSwitch(field *bool, text string) *fault {
	if text != "true" && text != "false" {
		return &fault{quote(text) + " is neither true nor false", "write " + s.rangeText()}
	}
	*field = text == "true"
	return nil
}

func (s setting) checkText(text string) *fault {
	switch {
	case len(text) > maxValue:
		return &fault{"longer than " + sizeText(maxValue), "write a shorter one"}
	case strings.ContainsFunc(text, isControl):
		return &fault{"a control character or a line break in it", "remove it"}
	case s.words != nil && !slices.Contains(s.words, text):
		return &fault{quote(text) + " is none of its values", "write " + joinWords(s.words)}
	case s.check != nil:
		return s.check(text)
	}
	return nil
}

// setNumber reads every kind of number through one float64, exact for what their ranges allow.
func (s setting) setNumber(field any, text string) *fault {
	n, f := s.number(text)
	if f != nil {
		return f
	}
	if outside := n < s.low || n > s.high || s.kind == kindRatio && n <= s.low; outside || math.IsNaN(n) {
		return &fault{quote(text) + " is out of range", "write " + s.rangeText()}
	}
	switch field := field.(type) {
	case *time.Duration:
		*field = time.Duration(n)
	case *int64:
		*field = int64(n)
	case *int:
		*field = int(n)
	case *float64:
		*field = n
	}
	return nil
}

var bareNumber = regexp.MustCompile(`^[0-9]{1,9}$`)

func (s setting) number(text string) (float64, *fault) {
	wrong := &fault{quote(text) + " is not a " + string(s.kind), "write " + s.rangeText()}
	switch s.kind {
	case kindDuration:
		if bareNumber.MatchString(text) && text != "0" {
			return 0, &fault{quote(text) + " has no unit", "write " + text + "s if seconds are meant"}
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return 0, wrong
		}
		return float64(d), nil
	case kindRatio:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return 0, wrong
		}
		return n, nil
	}
	unit := 1.0
	if s.kind == kindSize {
		text, unit = cutUnit(text)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || strings.TrimLeft(text, "-123456789") == text && text != "0" { // 010 is eight to some readers of YAML
		return 0, wrong
	}
	return float64(n) * unit, nil
}

// cutUnit cuts KiB or MiB off a size.
func cutUnit(text string) (number string, unit float64) {
	if n, ok := strings.CutSuffix(text, "KiB"); ok {
		return strings.TrimSpace(n), 1 << 10
	}
	if n, ok := strings.CutSuffix(text, "MiB"); ok {
		return strings.TrimSpace(n), 1 << 20
	}
	return text, 1
}

// rangeText is the range in words, as in "write ...".
func (s setting) rangeText() string {
	switch s.kind {
	case kindDuration:
		return "a duration from " + durationText(time.Duration(s.low)) + " to " + durationText(time.Duration(s.high))
	case kindSize:
		return "bytes, KiB or MiB, from " + sizeText(int64(s.low)) + " to " + sizeText(int64(s.high))
	case kindRatio:
		return "a fraction above 0 and up to 1, such as 0.5"
	case kindCount:
		return "a whole number from " + strconv.FormatInt(int64(s.low), 10) + " to " + strconv.FormatInt(int64(s.high), 10)
	case kindWord:
		return joinWords(s.words)
	case kindSwitch:
		return "true or false"
	}
	return string(s.kind)
}

func joinWords(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// durationText is a duration as a person writes it: 1h and not 1h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	if d == 0 {
		return "0"
	}
	return text
}

func sizeText(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + "MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return strconv.FormatInt(n>>10, 10) + "KiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// text is the value as a person writes it; a secret is "set" or empty.
func (s setting) text(c *Config) string {
	switch v := s.field(c).(type) {
	case *proxy.Secret:
		if v.IsZero() {
			return ""
		}
		return "set"
	case *string:
		return *v
	case *[]string:
		return strings.Join(*v, ", ")
	case *bool:
		return strconv.FormatBool(*v)
	case *time.Duration:
		return durationText(*v)
	case *int64:
		return sizeText(*v)
	case *int:
		if s.kind == kindSize {
			return sizeText(int64(*v))
		}
		return strconv.Itoa(*v)
	case *float64:
		return strconv.FormatFloat(*v, 'g', -1, 64)
	}
	return fmt.Sprintf("a value of a kind not shown here (%s)", s.kind)
}
