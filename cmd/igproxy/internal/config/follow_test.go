package config_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
)

// notebook is a followed text file. Reading fails if its text is "broken".
type notebook struct {
	t     *testing.T
	path  string
	log   bytes.Buffer
	reads int
	get   func() string
}

func newNotebook(t *testing.T, path string) *notebook {
	t.Helper()
	n := &notebook{t: t, path: path}
	var err error
	n.get, err = config.Follow("the.key", slog.New(slog.NewTextHandler(&n.log, nil)), func() (string, error) {
		n.reads++
		text, err := os.ReadFile(path)
		if err == nil && string(text) == "broken" {
			err = fmt.Errorf("it is broken")
		}
		return string(text), err
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// put writes a file and sets its modification time to the simulated time minus ago.
func put(t *testing.T, path, text string, ago time.Duration) {
	t.Helper()
	write(t, path, text)
	at := time.Now().Add(-ago)
	if err := os.Chtimes(path, at, at); err != nil {
		t.Fatal(err)
	}
}

func (n *notebook) holds(want string, reads int) {
	n.t.Helper()
	if got := n.get(); got != want || n.reads != reads {
		n.t.Errorf("got %q after %d reads, want %q after %d reads", got, n.reads, want, reads)
	}
}

func TestAChangedFileIsReadAgainAfterASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, "f", "one", time.Hour)
		n := newNotebook(t, "f")
		put(t, "f", "two", time.Minute)
		for range 100 {
			n.holds("one", 1) // within the second
		}
		time.Sleep(config.LookEvery)
		n.holds("two", 2)
		time.Sleep(time.Hour)
		n.holds("two", 2) // nothing has changed since
		if got := strings.Count(n.log.String(), "\n"); got != 1 || !strings.Contains(n.log.String(), "key=the.key") {
			t.Errorf("want one log line, with key=the.key; got %s", n.log.String())
		}
	})
}

func TestAWriteWithinTheSameTickAsTheReadIsFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, "f", "one", 0)
		stamp := time.Now()
		n := newNotebook(t, "f")
		write(t, "f", "two") // has the same length; Chtimes gives it the same time
		if err := os.Chtimes("f", stamp, stamp); err != nil {
			t.Fatal(err)
		}
		time.Sleep(config.LookEvery)
		n.holds("two", 2)
		time.Sleep(2 * config.LookEvery)
		n.holds("two", 3) // read again: at the last read, the modification time was too recent to be trusted
		time.Sleep(time.Hour)
		n.holds("two", 3)
	})
}

// As in Kubernetes, f is a link to ..data/f, and ..data is a link to a folder. A rename replaces
// the link ..data.
func TestAFileIsReadAgainAfterALinkToItIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		for _, dir := range []string{"one", "two"} {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			put(t, dir+"/f", dir, time.Hour) // both files have the same length and age
		}
		for link, target := range map[string]string{"..data": "one", "f": "..data/f", "..next": "two"} {
			if err := os.Symlink(target, link); err != nil {
				t.Fatal(err)
			}
		}
		n := newNotebook(t, "f")
		n.holds("one", 1)
		if err := os.Rename("..next", "..data"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(config.LookEvery)
		n.holds("two", 2)
	})
}

func TestABrokenFileIsReportedOnceAndThePreviousContentIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, "f", "one", time.Hour)
		n := newNotebook(t, "f")
		put(t, "f", "broken", time.Minute)
		time.Sleep(config.LookEvery)
		n.holds("one", 2)
		if n.log.Len() > 0 {
			t.Errorf("at the first look, when the file may be half written: got the log %s, want no line", n.log.String())
		}
		for i := range 5 {
			time.Sleep(config.LookEvery)
			n.holds("one", 3+i)
		}
		if err := os.Remove("f"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(config.LookEvery)
		n.holds("one", 8)
		if got := strings.Count(n.log.String(), "level=WARN"); got != 1 || !strings.Contains(n.log.String(), "it is broken") {
			t.Errorf("want one warning, with \"it is broken\"; got %s", n.log.String())
		}
		put(t, "f", "two", time.Minute)
		time.Sleep(config.LookEvery)
		n.holds("two", 9)
		if got := strings.Count(n.log.String(), "\n"); got != 2 || !strings.Contains(n.log.String(), "changed file loaded") {
			t.Errorf("after the repair: got the log %s, want the warning and one line with \"changed file loaded\"", n.log.String())
		}
	})
}

func TestFollowReturnsAnErrorIfItsFirstReadFails(t *testing.T) {
	t.Chdir(t.TempDir())
	get, err := config.Follow("k", slog.New(slog.DiscardHandler), func() ([]byte, error) { return os.ReadFile("nowhere") }, "nowhere")
	if get != nil || !os.IsNotExist(err) {
		t.Errorf("got a function: %v, want false; got the error %v, want an error that the file does not exist", get != nil, err)
	}
}

// A look that hangs, perhaps on a network file system, delays only the caller that looks.
func TestOnlyOneCallerWaitsForTheFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		t.Chdir(t.TempDir())
		put(t, "f", "one", time.Hour)
		hang := make(chan struct{})
		first := true
		get, err := config.Follow("k", slog.New(slog.DiscardHandler), func() (string, error) {
			if !first {
				<-hang
			}
			first = false
			text, err := os.ReadFile("f")
			return string(text), err
		}, "f")
		if err != nil {
			t.Fatal(err)
		}
		put(t, "f", "two", time.Minute)
		time.Sleep(config.LookEvery)
		looked := make(chan string)
		go func() { looked <- get() }() // ends when hang is closed
		synctest.Wait()
		for range 10 {
			time.Sleep(config.LookEvery)
			if got := get(); got != "one" {
				t.Errorf("got %q while another caller reads the file, want \"one\"", got)
			}
		}
		close(hang)
		if got := <-looked; got != "two" {
			t.Errorf("got %q from the caller that reads the file, want \"two\"", got)
		}
	})
}
