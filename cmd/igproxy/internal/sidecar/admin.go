package sidecar

import (
	"net/http"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy/admin"
)

// adminOptions turns configuration into the admin handler's Options.
func (s *Sidecar) adminOptions(conf config.Config) admin.Options {
	o := admin.Options{
		Proxy:   s.proxy,
		Hosts:   conf.AllowedHosts,
		AnyHost: anyHost(s.adminNet, conf.AllowedHosts),
		About: admin.About{Version: s.build.Version, Commit: s.build.Commit, Go: s.build.Go, RedisMode: conf.Redis.Mode,
			Configuration: conf.Effective()},
		Logger: s.log,
	}
	if s.reloads.load != nil {
		o.Operations = []admin.Operation{s.reloadOperation()}
	}
	return o
}

// reloadOperation is POST /reload.
func (s *Sidecar) reloadOperation() admin.Operation {
	return admin.Operation{Name: "reload", Run: func(*http.Request) (status int, reply any) {
		r := s.reloads.reload()
		if !r.Reloaded {
			return http.StatusUnprocessableEntity, r
		}
		return http.StatusOK, r
	}}
}
