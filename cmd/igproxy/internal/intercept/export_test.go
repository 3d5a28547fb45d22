package intercept

import (
	"context"
	"net"
	"net/netip"
)

// IsPublic is isPublic, for tests.
var IsPublic = isPublic

// DialWith replaces the function that dials a host for tunnels and checks its address.
func (h *Handler) DialWith(dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	h.tunnels.dial = dial
}

// ResolveWith replaces the resolver of tunnels, and the function that decides which addresses are
// public.
func (h *Handler) ResolveWith(r *net.Resolver, public func(netip.Addr) bool) {
	h.tunnels.dialer.Resolver, h.tunnels.allowed = r, public
}

// OwnAddresses replaces the function that lists the addresses of this machine.
func (h *Handler) OwnAddresses(list func() ([]net.Addr, error)) { h.tunnels.own = list }
