package browser

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/igproxy/igproxy/integration/harness"
)

// chromium is a headless Chromium with one page. It is controlled over the DevTools protocol: JSON
// messages, each followed by a zero byte, on descriptors 3 and 4. So the tests need no library and
// no open port.
type chromium struct {
	t       *testing.T
	to      *os.File // the pipe for commands to Chromium
	session string   // the DevTools session of the page; empty: commands are for the browser

	mu       sync.Mutex                   // protects the fields below
	last     int                          // the ID of the last command
	answers  map[int]chan json.RawMessage // a channel for the result of each command in flight
	troubles []string                     // the page's exceptions, console messages, log entries and protocol errors
}

// message is a DevTools message: a command, the result of a command, or an event.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

// openChromium starts Chromium with an empty page. Chromium is killed when the test ends.
func openChromium(t *testing.T) *chromium {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("%v (make test-all installs what is missing)", err)
	}
	theirs, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--user-data-dir="+home, "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles, cmd.SysProcAttr = []*os.File{theirs, ours}, &syscall.SysProcAttr{Setpgid: true}
	cmd.Env = append(os.Environ(), "HOME="+home)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = theirs.Close()
	_ = ours.Close()
	c := &chromium{t: t, to: to, answers: map[int]chan json.RawMessage{}}
	read := make(chan struct{})
	go func() { defer close(read); c.read(from) }() // ends when Chromium ends
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the whole process group
		_ = cmd.Wait()
		_ = to.Close()
		_ = from.Close()
		<-read
		// A process of Chromium that is still ending may write to home, and then RemoveAll fails.
		for start := time.Now(); os.RemoveAll(home) != nil && time.Since(start) < harness.Patience; {
			time.Sleep(10 * time.Millisecond)
		}
	})
	var target struct{ TargetID string }
	c.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	c.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		c.call(domain+".enable", nil, nil)
	}
	return c
}

func (c *chromium) read(from *os.File) {
	r := bufio.NewReaderSize(from, 1<<20)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		switch answer := c.answers[m.ID]; {
		case answer != nil:
			delete(c.answers, m.ID)
			if m.Error != nil {
				c.troubles = append(c.troubles, "DevTools protocol: "+string(m.Error))
			}
			answer <- m.Result
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded", m.Method == "Runtime.consoleAPICalled":
			c.troubles = append(c.troubles, m.Method+": "+string(m.Params))
		}
		c.mu.Unlock()
	}
}

// call sends a command and waits for its result. Unless result is nil, call decodes the JSON into
// the value that result points to.
func (c *chromium) call(method string, params any, result any) {
	c.t.Helper()
	answer := make(chan json.RawMessage, 1)
	c.mu.Lock()
	c.last++
	m := message{ID: c.last, SessionID: c.session, Method: method}
	c.answers[m.ID] = answer
	c.mu.Unlock()
	if params != nil {
		m.Params, _ = json.Marshal(params)
	}
	text, _ := json.Marshal(m)
	if _, err := c.to.Write(append(text, 0)); err != nil {
		c.t.Fatalf("sending %s to Chromium: %v", method, err)
	}
	select {
	case got := <-answer:
		if result != nil {
			if err := json.Unmarshal(got, result); err != nil {
				c.t.Fatalf("decoding the result of %s: %v in %s", method, err, got)
			}
		}
	case <-time.After(harness.Patience):
		c.t.Fatalf("%s: got no result from Chromium within %s, want one", method, harness.Patience)
	}
}

// eval evaluates a JavaScript expression in the page and returns the result as text.
func (c *chromium) eval(expression string) string {
	c.t.Helper()
	var got struct {
		Result           struct{ Value any }
		ExceptionDetails json.RawMessage
	}
	c.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &got)
	if got.ExceptionDetails != nil {
		c.t.Fatalf("%s: %s", expression, got.ExceptionDetails)
	}
	return fmt.Sprint(got.Result.Value)
}

// shows waits until a JavaScript expression is true in the page. If it is still not true after
// harness.Patience, the test fails. The parameter what describes, in the failure message, what the
// page should have shown.
func (c *chromium) shows(what, expression string) {
	c.t.Helper()
	for deadline := time.Now().Add(harness.Patience); c.eval(expression) != "true"; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited %s for the page to show %s. Its text is\n%s", harness.Patience, what, c.eval("document.body.innerText"))
		}
	}
}

// text returns a JavaScript expression for the text of the element with the given ID.
func text(id string) string { return fmt.Sprintf("document.getElementById(%q)?.textContent", id) }

func (c *chromium) open(url string) { c.call("Page.navigate", map[string]any{"url": url}, nil) }

// width sets the width of the window in CSS pixels.
func (c *chromium) width(w int) {
	c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": w, "height": 900, "deviceScaleFactor": 1, "mobile": false}, nil)
}

// scheme sets the colour scheme to light or dark.
func (c *chromium) scheme(name string) {
	c.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": name}, {"name": "prefers-reduced-motion", "value": "reduce"}}}, nil)
}

func (c *chromium) tab() {
	for _, kind := range []string{"keyDown", "keyUp"} {
		c.call("Input.dispatchKeyEvent", map[string]any{"type": kind, "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}, nil)
	}
}

// picture returns a PNG of the whole page.
func (c *chromium) picture() []byte {
	c.t.Helper()
	var size struct {
		CSSContentSize struct{ Width, Height float64 }
	}
	c.call("Page.getLayoutMetrics", nil, &size)
	var shot struct{ Data string }
	c.call("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true, "optimizeForSpeed": false,
		"clip": map[string]any{"x": 0, "y": 0, "width": size.CSSContentSize.Width, "height": size.CSSContentSize.Height, "scale": 1}}, &shot)
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	if err != nil {
		c.t.Fatal(err)
	}
	return png
}

// quiet fails the test if there were troubles since the previous call of quiet: the page has thrown
// an exception, the page has written to the console, Chromium has logged an entry, or Chromium has
// refused a command. The log includes errors of the network and of the content security policy.
func (c *chromium) quiet() {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.troubles) > 0 {
		c.t.Errorf("exceptions, console messages, log entries and protocol errors: want none, got\n%s", strings.Join(c.troubles, "\n"))
		c.troubles = nil
	}
}
