module github.com/igproxy/igproxy/integration/clients/go

go 1.26.0

require (
	github.com/markbates/goth v1.82.0
	golang.org/x/oauth2 v0.38.0
)
