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

// Limits of values.
const (
	maxValue = 4096 // bytes
	maxItems = 64   // of a list
)

// set reads the values, which are one unless the setting is a list, into the field. It leaves the
// field unchanged if it returns a fault.
func (s setting) set(c *Config, values []string) *fault {
	text := values[0]
	switch field := s.field(c).Addr().Interface().(type) {
	case *[]string:
		return s.setList(field, values)
	case *bool:
		// yes, on and 1 are refused: only some YAML parsers understand them.
		if text != "true" && text != "false" {
			return &fault{quote(text) + " is neither true nor false", "write " + s.rangeText()}
		}
		*field = text == "true"
	case *string:
		if f := s.checkText(text); f != nil {
			return f
		}
		*field = text
	case *proxy.Secret:
		text = trimNewline(text) // a Kubernetes Secret or a YAML block often ends with one
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
		return &fault{"more than " + strconv.Itoa(maxItems) + " items", "remove some"}
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

func (s setting) checkText(text string) *fault {
	switch {
	case len(text) > maxValue:
		return &fault{"longer than " + sizeText(maxValue), "shorten it"}
	case strings.ContainsFunc(text, isControl):
		return &fault{"it contains a control character or a line break", "remove it"}
	case s.words != nil && !slices.Contains(s.words, text):
		return &fault{quote(text) + " is not an allowed value", "write " + s.rangeText()}
	case s.check != nil:
		return s.check(text)
	}
	return nil
}

// setNumber parses every kind of number as a float64, which is exact for all allowed values.
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

var (
	bareNumber  = regexp.MustCompile(`^[1-9][0-9]{0,8}$`)
	wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`) // not 010, which is 8 to some YAML parsers
)

func (s setting) number(text string) (n float64, f *fault) {
	wrong := &fault{quote(text) + " is not a " + string(s.kind), "write " + s.rangeText()}
	switch s.kind {
	case kindDuration:
		if bareNumber.MatchString(text) {
			return 0, &fault{quote(text) + " has no unit", "write " + text + "s if you mean seconds"}
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
	if number, ok := strings.CutSuffix(text, "KiB"); ok && s.kind == kindSize {
		text, unit = strings.TrimSpace(number), 1<<10
	} else if number, ok := strings.CutSuffix(text, "MiB"); ok && s.kind == kindSize {
		text, unit = strings.TrimSpace(number), 1<<20
	}
	if !wholeNumber.MatchString(text) {
		return 0, wrong
	}
	n, _ = strconv.ParseFloat(text, 64) // the pattern allows only numbers
	return n * unit, nil
}

// rangeText returns the allowed values in words that fit after "write".
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
		last := len(s.words) - 1
		return strings.Join(s.words[:last], ", ") + " or " + s.words[last]
	case kindSwitch:
		return "true or false"
	}
	return string(s.kind)
}

// durationText returns a duration as people write it: 1h instead of 1h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
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

// text returns the value as people write it. A secret is "set" or empty.
func (s setting) text(c *Config) string {
	switch v := s.field(c).Interface().(type) {
	case proxy.Secret:
		if v.IsZero() {
			return ""
		}
		return "set"
	case string:
		return v
	case []string:
		return strings.Join(v, ", ")
	case time.Duration:
		return durationText(v)
	}
	if s.kind == kindSize {
		return sizeText(s.field(c).Int())
	}
	return fmt.Sprint(s.field(c).Interface())
}
