package config

import (
	"fmt"
	"math"
	"reflect"
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
	maxItems = 64   // items of a list
)

// set parses values into the setting's field of c. values has one value, unless the setting is a
// list. If set returns faults, it leaves the field unchanged. A list can have a fault for each
// item.
func (s setting) set(c *Config, values []string) []fault {
	if field, isList := s.field(c).Addr().Interface().(*[]string); isList {
		return s.setList(field, values)
	}
	if f := s.setOne(c, values[0]); f != nil {
		return []fault{*f}
	}
	return nil
}

func (s setting) setOne(c *Config, value string) *fault {
	text := trimNewline(value) // a Kubernetes Secret or a YAML block often ends with a newline
	switch field := s.field(c).Addr().Interface().(type) {
	case *bool:
		// "yes", "on" and "1" are refused, because not all programs read them as true.
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
		if f := s.checkText(text); f != nil {
			return f
		}
		*field = proxy.NewSecret(text)
	default:
		return s.setNumber(s.field(c), text)
	}
	return nil
}

func (s setting) setList(field *[]string, values []string) (faults []fault) {
	if len(values) > maxItems {
		return []fault{{"more than " + strconv.Itoa(maxItems) + " items", "remove some"}}
	}
	for i, v := range values {
		if f := s.checkItem(v, i, len(values)); f != nil {
			faults = append(faults, *f)
		}
	}
	if faults == nil {
		*field = slices.Clone(values)
	}
	return faults
}

// checkItem checks item i of a list of n items. If the value is hidden, the fault gives the item's
// number instead. If the list has several items, a fault that does not contain the value begins
// with the item's number.
func (s setting) checkItem(value string, i, n int) *fault {
	f, item := s.checkText(value), "item "+strconv.Itoa(i+1)
	switch {
	case f == nil:
	case strings.HasPrefix(f.what, hiddenValue):
		f.what = item + strings.TrimPrefix(f.what, hiddenValue)
	case n > 1 && !strings.HasPrefix(f.what, quote(value)):
		f.what = item + ": " + f.what
	}
	return f
}

func (s setting) checkText(text string) *fault {
	switch {
	case text == "":
		return &fault{"an empty value", "write a value, or remove the key"}
	case len(text) > maxValue:
		return &fault{"longer than " + sizeText(maxValue), "shorten it"}
	case strings.ContainsFunc(text, isControl):
		return &fault{"contains a control character or a line break", "remove it"}
	case s.words != nil && !slices.Contains(s.words, text):
		return &fault{quote(text) + " is not an allowed value", "write " + s.rangeText()}
	case s.check != nil:
		return s.check(text)
	}
	return nil
}

// setNumber sets a field of any numeric type. It computes in float64, which is exact for all
// allowed values.
func (s setting) setNumber(field reflect.Value, text string) *fault {
	n, err := s.number(text)
	switch {
	case err != nil:
		fix := "write " + s.rangeText()
		if s.kind == kindDuration {
			fix += ", in h, m, s or ms"
		}
		return &fault{quote(text) + " is not a " + string(s.kind), fix}
	case n < s.low || n > s.high || math.IsNaN(n) || s.kind == kindRatio && n <= s.low:
		return &fault{quote(text) + " is out of range", "write " + s.rangeText()}
	case field.CanFloat():
		field.SetFloat(n)
	default:
		field.SetInt(int64(n))
	}
	return nil
}

var wholeNumber = regexp.MustCompile(`^(0|-?[1-9][0-9]{0,17})$`) // not 010, which is 8 to some YAML parsers

func (s setting) number(text string) (float64, error) {
	switch s.kind {
	case kindDuration:
		d, err := time.ParseDuration(text)
		return float64(d), err
	case kindRatio:
		return strconv.ParseFloat(text, 64)
	}
	unit := 1.0
	if number, ok := strings.CutSuffix(text, "KiB"); ok && s.kind == kindSize {
		text, unit = strings.TrimSpace(number), 1<<10
	} else if number, ok := strings.CutSuffix(text, "MiB"); ok && s.kind == kindSize {
		text, unit = strings.TrimSpace(number), 1<<20
	}
	if !wholeNumber.MatchString(text) {
		return 0, strconv.ErrSyntax
	}
	n, err := strconv.ParseFloat(text, 64)
	return n * unit, err
}

// rangeText returns the allowed values in words that fit after "write".
func (s setting) rangeText() string {
	switch s.kind {
	case kindDuration:
		return "a duration from " + durationText(time.Duration(s.low)) + " to " + durationText(time.Duration(s.high))
	case kindSize:
		return "a number of bytes, or a number with KiB or MiB, from " + sizeText(int64(s.low)) + " to " + sizeText(int64(s.high))
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
	if s.orText {
		return "text or list"
	}
	return string(s.kind)
}

var zeroUnits = regexp.MustCompile(`([hm])(0m)?0s$`)

// durationText returns a duration as people write it: 1h instead of 1h0m0s.
func durationText(d time.Duration) string {
	return zeroUnits.ReplaceAllString(d.String(), "$1")
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

// text returns the value as an operator writes it. For a secret it returns "set", or "" if the
// secret is empty. It also returns "" for a size of zero, which means that the size is not set.
func (s setting) text(c *Config) string {
	switch v := s.field(c).Interface().(type) {
	case proxy.Secret:
		if v.IsZero() {
			return ""
		}
		return "set"
	case []string:
		return strings.Join(v, ", ")
	case time.Duration:
		return durationText(v)
	}
	if s.kind == kindSize {
		switch n := s.field(c).Int(); {
		case n == 0:
			return ""
		case n%(1<<10) != 0:
			return strconv.FormatInt(n, 10)
		default:
			return sizeText(n)
		}
	}
	return fmt.Sprint(s.field(c).Interface())
}
