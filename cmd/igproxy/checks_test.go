package main

import "testing"

func TestAHostWithASchemeIsNotTakenForOneWithAPort(t *testing.T) {
	f := checkHost("http://igproxy")
	if want := `"http://igproxy" is not a host name`; f == nil || f.what != want {
		t.Errorf("got %v, want %s", f, want)
	}
}
