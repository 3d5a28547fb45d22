package config

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// substituted writes a text to a new pipe and returns the pipe's path, as a shell does for
// <(printf %s TEXT).
func substituted(t *testing.T, text string) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	t.Cleanup(func() { delete(pipes.contents, path) })
	return path
}

// A pipe can be read only once, but every reload reads the configuration again.
func TestASecretFromAPipeIsReadOnceAndNotWatched(t *testing.T) {
	path := substituted(t, canary+"\n")
	for _, when := range []string{"at the start", "at a reload"} {
		c, problems := Load("", []string{"IGPROXY_CLIENT_SECRET_FILE=" + path})
		if c.ClientSecret.Reveal() != canary || len(problems) > 0 {
			t.Errorf("%s: got the secret %q, want %q; problems: got %v, want no problem", when, c.ClientSecret.Reveal(), canary, problems)
		}
		if files := c.Files(); slices.Contains(files, path) {
			t.Errorf("%s: files to watch: got %v, want no pipe", when, files)
		}
	}
	token := substituted(t, "0123456789abcdef")
	synctest.Test(t, func(t *testing.T) {
		reads := 0
		get, err := Follow("auth.bearer_file", slog.New(slog.DiscardHandler), func() (int, error) {
			reads++
			_, err := ReadBearers(token)
			return reads, err
		}, token)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			time.Sleep(time.Minute)
			get()
		}
		if reads != 1 {
			t.Errorf("got %d reads of the pipe, want 1", reads)
		}
	})
}

func TestAPipeThatNothingWritesToIsRefused(t *testing.T) {
	path := substituted(t, "")
	if _, err := ReadSecret(path); err == nil || err.Error() != path+" is a pipe that nothing writes to" {
		t.Errorf("got %v, want an error that nothing writes to the pipe", err)
	}
}
