package sidecar

import (
	"github.com/igproxy/igproxy/cmd/igproxy/internal/config"
	"github.com/igproxy/igproxy/proxy"
)

// proxyOptions are the proxy's, with what the sidecar has for it.
func (s *Sidecar) proxyOptions(conf config.Config) (proxy.Options, error) {
	o, err := proxyOptions(conf, s.build.Version)
	if err != nil {
		return o, err
	}
	if o.Bearer, err = followBearer(conf, s.log); err != nil {
		return o, err
	}
	o.Cache, o.Metrics, o.Logger, o.AnyHost = s.cache, s.metrics, s.log, anyHost(s.appNet, conf.AllowedHosts)
	return o, nil
}

// apply makes a configuration take effect that the listeners, the servers and Redis's client need
// no change for. Everything that can fail is built first, and then all of it is swapped.
func (s *Sidecar) apply(conf config.Config) error {
	o, err := s.proxyOptions(conf)
	if err != nil {
		return err
	}
	secure, err := serverTLS(conf, s.log)
	if err != nil {
		return err
	}
	if err := requireTrust(s.appNet, conf); err != nil { // the listener is the one of the start, whatever listen says now
		return err
	}
	if err := s.proxy.Reload(o); err != nil {
		return err
	}
	s.secure.Store(secure)
	s.operator.Reload(s.adminOptions(conf))
	s.cache.Resize(conf.Cache.MaxEntries)
	s.setLevel(conf.Log.Level)
	return nil
}
