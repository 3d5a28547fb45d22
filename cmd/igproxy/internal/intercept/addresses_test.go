package intercept_test

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/igproxy/igproxy/cmd/igproxy/internal/intercept"
)

func TestNoTunnelLeadsToThisMachineItsNetworkOrItsProvider(t *testing.T) {
	for address, want := range map[string]bool{
		"157.240.1.1": true, "8.8.8.8": true, "1.1.1.1": true, "2a03:2880:f12f:83:face:b00c:0:25de": true, "::ffff:8.8.8.8": true,
		"172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.1": true, "168.63.129.17": true, "192.0.1.1": true,

		"127.0.0.1": false, "127.255.255.254": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"10.0.0.1": false, "172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "::ffff:10.0.0.1": false, "fd12:3456::1": false, "fc00::1": false,
		"169.254.0.1": false, "fe80::1": false, "fe80::1%eth0": false, "::1%lo": false, "fec0::1": false,
		"169.254.169.254": false, // metadata of AWS, Azure, GCP, DigitalOcean and Oracle
		"169.254.170.2":   false, // credentials of containers in AWS
		"fd00:ec2::254":   false, // metadata of AWS
		"fd20:ce::254":    false, // metadata of GCP
		"100.100.100.200": false, // metadata of Alibaba
		"168.63.129.16":   false, // Azure's service for its virtual machines
		"192.0.0.192":     false, // metadata of Oracle
		"100.64.0.1":      false, "100.127.255.255": false,
		"64:ff9b::7f00:1": false, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::a00:1": false, // NAT64
		"2002:7f00:1::": false, "2002:a9fe:a9fe::1": false, // 6to4
		"2001::1":         false, // Teredo
		"::127.0.0.1":     false, // IPv4-compatible
		"::ffff:0:7f00:1": false, // IPv4-translated, in SIIT
		"224.0.0.1":       false, "239.1.1.1": false, "ff02::1": false, "255.255.255.255": false, "240.0.0.1": false,
		"192.0.2.1": false, "198.51.100.1": false, "203.0.113.1": false, "198.18.0.1": false, "192.88.99.1": false, "2001:db8::1": false, "100::1": false,
	} {
		if got := intercept.IsPublic(netip.MustParseAddr(address)); got != want {
			t.Errorf("IsPublic(%s): got %t, want %t", address, got, want)
		}
	}
	if intercept.IsPublic(netip.Addr{}) {
		t.Error("the zero Addr is public, want not public")
	}
}

// Most machines with IPv6 have a public address.
func TestAPublicAddressOfThisMachineGetsNoTunnel(t *testing.T) {
	p := serve(t, tunnelling(1))
	own, other := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("127.0.0.3") // this test treats both as public
	answer := own
	resolver, _ := nameServer(func() []netip.Addr { return []netip.Addr{answer} })
	p.ResolveWith(resolver, func(netip.Addr) bool { return true })
	addresses, failure := []net.Addr{&net.IPNet{IP: own.AsSlice(), Mask: net.CIDRMask(8, 32)}}, error(nil)
	p.OwnAddresses(func() ([]net.Addr, error) { return addresses, failure })
	for _, step := range []struct {
		answer  netip.Addr
		failure error
		want    int
	}{
		{own, nil, 403}, {other, nil, 502}, // igproxy dials 127.0.0.3, but nothing listens there
		{other, errors.New("no list"), 403}, // without the list, 127.0.0.3 could be an address of this machine
	} {
		answer, failure = step.answer, step.failure
		if res, body := p.client().connect(t, "own.example:443", "", ""); res.StatusCode != step.want {
			t.Errorf("the name resolves to %v, and listing the addresses of this machine returns the error %v: got %d %s, want %d", step.answer, step.failure, res.StatusCode, body, step.want)
		}
	}
}
