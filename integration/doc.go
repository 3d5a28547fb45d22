// Package integration tests igproxy's promises with real parts: the built binary, redis-server,
// nginx, TLS and sockets. The tests see only the outside of the binary: its commands,
// configuration, responses and log. A few tests check the source code and the documentation
// instead.
//
// Tests that need other third-party programs are in the folders clients, browser, load and deploy,
// and run in make test-all. Package harness builds and starts igproxy for all of these tests.
package integration
