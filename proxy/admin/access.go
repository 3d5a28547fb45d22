package admin

import (
	"net"
	"net/http"
)

// fromHere serves an operation, with a JSON reply, to requests from this machine only, even where
// other machines can reach the listener: they may read metrics, but a reload or a purge is for
// those who can restart igproxy as well.
func fromHere(name string, run func(*http.Request) (status int, reply any)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !fromThisMachine(r) {
			http.Error(w, "accepted only from the machine that igproxy runs on; use igproxy "+name+" there", http.StatusForbidden)
			return
		}
		status, reply := run(r)
		writeJSON(w, status, reply)
	}
}

// fromThisMachine judges by the connection: a Unix socket, loopback at both ends, or one of the
// machine's addresses dialled from itself. A service mesh's proxy (Istio: from 127.0.0.6) dials the
// pod's address for any client. Headers about a proxy's client are not trusted.
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
