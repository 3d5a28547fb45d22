package admin

import (
	"net"
	"net/http"
	"net/netip"
)

// QuitResponse is the response to POST /quit.
type QuitResponse struct {
	Quitting bool `json:"quitting"`
}

// serveQuit serves POST /quit to callers on this machine that may run operations.
func (h *Handler) serveQuit() http.HandlerFunc {
	quit := h.operate("quit", func(*http.Request) (int, any) {
		if quit := h.current.Load().quit; quit != nil { // a reload may just have turned quit off
			quit()
			return http.StatusOK, QuitResponse{Quitting: true}
		}
		return http.StatusForbidden, QuitResponse{}
	})
	return func(w http.ResponseWriter, r *http.Request) {
		refused := ""
		switch {
		case h.current.Load().quit == nil:
			refused = "quit is off: set admin.quit to true"
		case !fromThisMachine(r):
			refused = "quit is only for programs on this machine: use a loopback address or admin.socket"
		default:
			quit(w, r)
			return
		}
		by, _ := h.current.Load().access.check(r)
		h.audit("quit", outcomeDenied, by)
		http.Error(w, refused, http.StatusForbidden)
	}
}

// fromThisMachine reports whether a request came over a Unix socket or from a loopback address. It
// ignores headers such as X-Forwarded-For.
func fromThisMachine(r *http.Request) bool {
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok && a.Network() == "unix" {
		return true
	}
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && from.Addr().Unmap().IsLoopback()
}
