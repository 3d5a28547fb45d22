package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/igproxy/igproxy/proxy"
)

// Effective is every setting with the value in force, for the admin listener's page. A secret, and whatever may hold one, is "set".
func Effective(c Config) (pairs [][2]string) {
	rows := settings()
	for i := range c.Apps {
		rows = append(rows, appSettings(i)...)
	}
	for _, s := range rows {
		pairs = append(pairs, [2]string{s.key, s.text(&c)})
	}
	return pairs
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
