// Package integration proves igproxy's promises on real parts: the built binary, real redis-server, real TLS, real sockets. One promise
// a file, told in prose on top. The tests know the binary's outside only: its commands, its configuration, its answers, its log.
package integration
