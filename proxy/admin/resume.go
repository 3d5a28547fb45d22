package admin

import (
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/igproxy/igproxy/proxy"
)

// ResumeResponse is the response to POST /resume.
type ResumeResponse struct {
	Resumed []proxy.Pause `json:"resumed"` // the pauses that were ended; may be empty
	Problem string        `json:"problem,omitempty"`
}

// resume implements POST /resume: it ends the pauses that rate limits caused.
func (h *Handler) resume(r *http.Request) (status int, _ any) {
	response := ResumeResponse{Resumed: []proxy.Pause{}}
	app, err := readResume(r)
	if err != nil {
		response.Problem = err.Error()
		return http.StatusBadRequest, response
	}
	ended, err := h.proxy.Resume(app)
	if err != nil {
		response.Problem = err.Error()
		return http.StatusUnprocessableEntity, response
	}
	response.Resumed = append(response.Resumed, ended...)
	for _, p := range ended {
		h.log.Warn("pause ended", "app", p.App, "since", p.Since, "would_end", p.Until, "code", p.Code)
	}
	return http.StatusOK, response
}

// maxResume bounds the form of POST /resume, in bytes.
const maxResume = 1 << 10

// readResume reads the app from the body. An empty body means every app.
func readResume(r *http.Request) (app string, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxResume))
	fields, malformed := url.ParseQuery(string(body))
	app = fields.Get("app")
	isForm := len(fields) == 1 && len(fields["app"]) == 1 && app != ""
	if err != nil || malformed != nil || r.URL.RawQuery != "" || len(body) > 0 && !isForm {
		return "", errors.New("send app=NAME in the body, or no body to resume all apps")
	}
	return app, nil
}
