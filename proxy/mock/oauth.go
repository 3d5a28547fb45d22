package mock

import "cmp"

// appGrant is the grant type of an app token.
const appGrant = "client_credentials"

// loginEndpoint stands for all calls at /oauth/access_token until the request has been read, which
// shows what kind of call it is.
var loginEndpoint = &endpoint{login: true, bodied: true}

// loginCall returns the endpoint of a call at /oauth/access_token.
func (x *call) loginCall() *endpoint {
	switch {
	case x.family == facebookFamily && x.grant == facebookFamily.exchange:
		return extendEndpoint
	case x.family == facebookFamily && x.grant != appGrant:
		return facebookCodeEndpoint
	case x.family != instagramFamily && x.grant == appGrant:
		return appTokenEndpoint
	case x.family == threadsFamily:
		return threadsCodeEndpoint
	}
	return codeEndpoint
}

// value returns the value of a parameter from the query or the form. An endpoint without a body has
// only a query.
func (x *call) value(name string) string {
	if x.endpoint.strict {
		return last(x.form, name)
	}
	return cmp.Or(last(x.query, name), last(x.form, name))
}
