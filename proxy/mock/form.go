package mock

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"sync"
	"time"
)

// keptBytes of a body are kept, to be read as a form or by a test; all of it is counted and hashed.
const keptBytes = 64 << 10

// read takes a body in, where the endpoint has one, and only then knows what the request is about.
func (x *exchange) read() {
	if !x.endpoint.bodied {
		return
	}
	x.form, x.badForm = readForm(x.r.Header.Get("Content-Type"), x.readBody())
	x.settle()
	x.book.carry(x.carried())
}

// readBody to its end, or ends the request if it does not come.
func (x *exchange) readBody() (kept []byte) {
	defer x.endReadingOnClose()()
	sum, chunk := sha256.New(), make([]byte, chunkBytes)
	for {
		n, err := x.r.Body.Read(chunk)
		sum.Write(chunk[:n])
		kept = append(kept, chunk[:min(n, keptBytes-len(kept))]...)
		x.instagram.requests.update(func() {
			x.record.Bytes += int64(n)
			x.record.Body, x.record.SHA256 = kept, hex.EncodeToString(sum.Sum(nil))
		})
		x.book.uploaded(n)
		if err == io.EOF {
			return kept
		}
		if err != nil {
			x.abort()
		}
	}
}

// endReadingOnClose makes Close end a read that waits. What it returns ends the watch.
func (x *exchange) endReadingOnClose() (stop func()) {
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-x.instagram.closed:
			_ = http.NewResponseController(x.w).SetReadDeadline(time.Now()) // what has no deadline is no connection
		case <-done:
		}
	})
	return func() { close(done); watch.Wait() }
}

// readForm understands what apps send: both kinds of form, and the members of a JSON object that are texts. Anything else is an upload,
// and no form.
func readForm(contentType string, body []byte) (form url.Values, malformed bool) {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return url.Values{}, contentType != ""
	}
	switch kind {
	case "application/x-www-form-urlencoded":
		form, err = url.ParseQuery(string(body))
		return form, err != nil
	case "multipart/form-data":
		parts, err := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]).ReadForm(keptBytes)
		if err != nil {
			return url.Values{}, true
		}
		return parts.Value, false
	case "application/json":
		var members map[string]any
		err = json.Unmarshal(body, &members)
		form = url.Values{}
		for name, value := range members {
			if text, ok := value.(string); ok {
				form.Set(name, text)
			}
		}
		return form, err != nil
	}
	return url.Values{}, false
}

// last is a parameter's value. Of one sent twice the last counts, as in PHP.
func last(values url.Values, name string) string {
	if all := values[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
