package intercept

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// errNotPublic means that a host has an address to which no tunnel may lead.
var errNotPublic = errors.New("not a public address")

// notPublic lists networks whose addresses lead to this machine, to its provider, or nowhere.
// Package netip does not classify them as private. Most are from
// https://www.iana.org/assignments/iana-ipv4-special-registry and
// https://www.iana.org/assignments/iana-ipv6-special-registry. The networks of Teredo and 6to4 are
// in the list because their addresses can contain a private IPv4 address.
var notPublic = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"),    // for NAT at carriers; some clouds have their metadata service here
	netip.MustParsePrefix("168.63.129.16/32"), // Azure's service for its virtual machines
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("2001::/23"), // includes Teredo
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4
	netip.MustParsePrefix("3fff::/20"),
}

// publicIPv6 is the only range from which public IPv6 addresses are assigned:
// https://www.iana.org/assignments/ipv6-address-space. Other IPv6 addresses lead to this machine,
// to its network, to an IPv4 address (perhaps a private one), or nowhere.
var publicIPv6 = netip.MustParsePrefix("2000::/3")

// isPublic reports whether an address is public. A tunnel may lead only to a public address.
func isPublic(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return a.IsGlobalUnicast() && !a.IsPrivate() && (a.Is4() || publicIPv6.Contains(a)) &&
		!slices.ContainsFunc(notPublic, func(p netip.Prefix) bool { return p.Contains(a) })
}

// onlyPublic returns an error for an address that no tunnel may lead to. It is the Control of a
// net.Dialer, so it gets the address that is dialled: a name that resolves to another address a
// moment later (DNS rebinding) cannot get past it.
func (t *tunnels) onlyPublic(_, address string, _ syscall.RawConn) error {
	if to, err := netip.ParseAddrPort(address); err != nil || !t.allowed(to.Addr()) || t.isOwn(to.Addr()) {
		return errNotPublic
	}
	return nil
}

// isOwn reports whether an address belongs to this machine, which may have public addresses too. It
// also returns true if the addresses of this machine cannot be listed.
func (t *tunnels) isOwn(a netip.Addr) bool {
	list, err := t.own()
	return err != nil || slices.ContainsFunc(list, func(own net.Addr) bool {
		network, err := netip.ParsePrefix(own.String())
		return err == nil && network.Addr().Unmap() == a.Unmap().WithZone("")
	})
}
