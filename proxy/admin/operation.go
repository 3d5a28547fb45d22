package admin

import (
	"net"
	"net/http"
)

// Operation is something that the operator can have done: POST /NAME on the admin listener. It is taken from this machine only, wherever
// that listener can be reached from: metrics are for others, too, but a reload or a purge is for whoever could restart igproxy as well.
type Operation struct {
	Name string
	// Run returns the status and the reply, which is sent as JSON.
	Run func(*http.Request) (status int, reply any)
}

// ServeHTTP implements http.Handler, behind the gate of Admin.
func (o Operation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !fromThisMachine(r) {
		http.Error(w, "this is taken from igproxy's own machine only: use igproxy "+o.Name+" there", http.StatusForbidden)
		return
	}
	status, reply := o.Run(r)
	writeJSON(w, status, reply)
}

// fromThisMachine goes by the connection: a Unix socket, loopback at both ends, or an address of ours that was dialled from itself. A mesh's
// proxy (Istio: from 127.0.0.6) dials the pod's address for whoever asks it. What proxies say of their clients in headers is anybody's word.
func fromThisMachine(r *http.Request) bool {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if local == nil {
		return false
	}
	if local.Network() == "unix" {
		return true
	}
	to, _ := local.(*net.TCPAddr)
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	from := net.ParseIP(host)
	return err == nil && to != nil && from != nil && (from.IsLoopback() && to.IP.IsLoopback() || from.Equal(to.IP))
}
