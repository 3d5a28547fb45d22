package proxy

import (
	"net/http"
	"strings"
	"testing"
)

// A GET of the code exchange is Facebook's way, which some libraries go.
func TestAWrongMethodIsNamedInTheError(t *testing.T) {
	for method, name := range map[string]string{http.MethodGet: "get", http.MethodPut: "put", "BREW": "other"} {
		if e := errMethod(method, http.MethodPost); !strings.Contains(e.Message, "method type: "+name+". Send POST.") {
			t.Errorf("%s: %s", method, e.Message)
		}
	}
}
