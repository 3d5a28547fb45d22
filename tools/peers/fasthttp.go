package main

import "github.com/valyala/fasthttp"

const fasthttpName = "fasthttp"

// fasthttp starts a server that uses package fasthttp. The server's handler does only the minimum
// for a hit, which shows what a hit costs with that package.
func (b *bench) fasthttp() (*server, error) {
	addr, err := free()
	if err != nil {
		return nil, err
	}
	return b.start(fasthttpName, serverCore, "http://"+addr, "http://"+addr+healthPath, nil, b.self, fasthttpName, addr)
}

// serveFasthttp looks up the token in a map that never changes, and answers with igproxy's headers.
// It ignores all parameters except the token. It logs nothing, and its tokens do not expire.
func serveFasthttp(addr string) error {
	known := make(map[string][]byte, manyTokens)
	for n := range manyTokens {
		known[token(n)] = answer(longOf(token(n)[len("IGAA"):]))
	}
	server := &fasthttp.Server{NoDefaultServerHeader: true, Handler: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == healthPath {
			return
		}
		body, found := known[string(ctx.QueryArgs().Peek("access_token"))]
		if !found || !ctx.IsGet() || string(ctx.Path()) != "/access_token" {
			ctx.SetStatusCode(fasthttp.StatusNotFound)
			return
		}
		ctx.SetContentType("application/json; charset=UTF-8")
		h := &ctx.Response.Header
		h.Set("Cache-Control", "no-store")
		h.Set("Cache-Status", "igproxy; hit; ttl=3599")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Request-Id", "d9b14ddf2b4fdb27")
		ctx.SetBody(body)
	}}
	return server.ListenAndServe(addr)
}
