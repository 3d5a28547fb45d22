package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// redisHits measures hits in Redis. igproxy's memory tier is so small that it holds one or two
// entries, and the load cycles through many tokens, so hits in memory are rare.
func (b *bench) redisHits() error {
	origin, err := b.origin("0s")
	if err != nil {
		return err
	}
	mock, ca, err := b.instagram("0s")
	if err != nil {
		return err
	}
	redis, err := b.redis()
	if err != nil {
		return err
	}
	nginx, err := b.nginx(origin)
	if err != nil {
		return err
	}
	sidecar, err := b.sidecar("igproxy", mock.url, ca, "REDIS_MODE=single", "REDIS_URL="+redis.url+"/0", "CACHE_MAX_BYTES=1KiB")
	if err != nil {
		return err
	}
	for _, s := range []*server{nginx, sidecar} {
		if _, err := warm(s, 0, manyTokens); err != nil {
			return err
		}
	}
	if err := b.allStored(redis, sidecar); err != nil {
		return err
	}
	cpu, rps, p99, sent := figures{}, figures{}, figures{}, figures{}
	for range b.rounds {
		for _, s := range []*server{nginx, sidecar} {
			if _, err := redis.command("CONFIG RESETSTAT"); err != nil {
				return err
			}
			before, err := sidecar.answered("redis")
			if err != nil {
				return err
			}
			r, err := b.load(s, manyTokens, busy, b.seconds)
			if err != nil {
				return err
			}
			cpu.add(s.name, r.cpu)
			rps.add(s.name, r.rps)
			p99.add(s.name, r.p99)
			if s == sidecar {
				n, err := redis.commands()
				if err != nil {
					return err
				}
				after, err := sidecar.answered("redis")
				if err != nil {
					return err
				}
				// Divide by igproxy's count of hits in Redis, not by wrk's count of requests,
				// because igproxy asks Instagram while its breaker for Redis is open.
				sent.add(s.name, math.Round(n/(after-before)*100)/100)
				b.say("%.1f %% of the answers are from Redis", (after-before)/r.requests*100)
			}
		}
	}
	b.report.add("redis.cpu", "CPU for a million hits in Redis (nginx: in its own cache)", "s", cpu, atMost(2, nginxName))
	b.report.add("redis.rps", "hits in Redis a second", "/s", rps, atLeast(25_000))
	b.report.add("redis.p99", "p99 of a hit in Redis", "ms", p99, nil)
	b.report.add("redis.commands", "commands to Redis for a hit", "", sent, exactly(1))
	return nil
}

// allStored exchanges all tokens again until Redis has an answer for each of them, because on a
// busy machine igproxy does not store every answer.
func (b *bench) allStored(redis, sidecar *server) error {
	const tries = 20
	stored := ""
	for range tries {
		b.pause(500 * time.Millisecond)
		var err error
		if stored, err = redis.command("DBSIZE"); err != nil || stored == strconv.Itoa(manyTokens) {
			return err
		}
		if _, err := warm(sidecar, 0, manyTokens); err != nil {
			return err
		}
	}
	return fmt.Errorf("redis has %s answers, want %d; the machine may be too busy", stored, manyTokens)
}

// answered returns igproxy's own count of responses with this source, such as "redis".
func (s *server) answered(source string) (sum float64, err error) {
	text, err := page(strings.TrimSuffix(s.health, healthPath) + "/metrics")
	for _, found := range regexp.MustCompile(`(?m)^igproxy_requests_total\{.*source="`+source+`".*\} (\S+)$`).FindAllStringSubmatch(text, -1) {
		n, e := strconv.ParseFloat(found[1], 64)
		sum, err = sum+n, errors.Join(err, e)
	}
	return sum, err
}

// command sends an inline command to Redis and returns the reply.
func (s *server) command(line string) (string, error) {
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.url, "redis://"), time.Second)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, line+"\r\n"); err != nil {
		return "", err
	}
	r := bufio.NewReader(c)
	head, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	head = strings.TrimSpace(head)
	switch head[0] {
	case '+', ':':
		return head[1:], nil
	case '$':
		n, err := strconv.Atoi(head[1:])
		if err != nil || n < 0 {
			return "", fmt.Errorf("redis replied %s", head)
		}
		text := make([]byte, n)
		_, err = io.ReadFull(r, text)
		return string(text), err
	}
	return "", errors.New("redis replied " + head)
}

// commands returns the number of commands that igproxy has sent since CONFIG RESETSTAT. Redis also
// counts the commands that scripts call. For a hit, a script calls one GET, so one command is
// subtracted for each script.
func (s *server) commands() (sent float64, err error) {
	text, err := s.command("INFO commandstats")
	scripts := 0.0
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		calls, _, _ := strings.Cut(rest, ",")
		n, e := strconv.ParseFloat(calls, 64)
		if e != nil || strings.HasPrefix(name, "config") || name == "info" {
			continue
		}
		sent += n
		if name == "evalsha" || name == "eval" {
			scripts += n
		}
	}
	return sent - scripts, err
}
