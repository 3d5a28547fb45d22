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

// keptBytes is how much of a body is kept. The kept bytes are parsed as a form, and tests can read
// them. The whole body is counted and hashed.
const keptBytes = 64 << 10

// read reads the body and then identifies the call. If the endpoint reads no body, read does
// nothing, because begin has identified the call.
func (x *call) read() {
	if !x.endpoint.bodied {
		return
	}
	x.form, x.badForm = readForm(x.r.Header.Get("Content-Type"), x.readBody())
	x.identify()
	x.counters.carry(x.carried())
}

// readBody reads the body to its end and returns its first bytes. It aborts the call on a read
// error.
func (x *call) readBody() (kept []byte) {
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
		x.counters.uploaded(n)
		if err == io.EOF {
			return kept
		}
		if err != nil {
			x.abort()
		}
	}
}

// endReadingOnClose lets Close interrupt a pending read of the body. The caller must call stop.
func (x *call) endReadingOnClose() (stop func()) {
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-x.instagram.closed:
			_ = http.NewResponseController(x.w).SetReadDeadline(time.Now()) // fails only if there is no connection
		case <-done:
		}
	})
	return func() { close(done); watch.Wait() }
}

// readForm parses what apps send: URL-encoded forms, multipart forms, and the string members of a
// JSON object. Any other type is an upload and gives an empty form.
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

// last returns the last value of a parameter, as PHP does, or "".
func last(values url.Values, name string) string {
	if all := values[name]; len(all) > 0 {
		return all[len(all)-1]
	}
	return ""
}
