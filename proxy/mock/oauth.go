package mock

import "cmp"

// appGrant is the grant type of an app token.
const appGrant = "client_credentials"

// loginEndpoint stands for any call at /oauth/access_token until its parameters have been read. The
// parameters show which endpoint the call is for.
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

// value returns the value of a parameter. A strict endpoint reads only the form. Any other endpoint
// reads the query and then the form, which is empty if the endpoint reads no body.
func (x *call) value(name string) string {
	if x.endpoint.strict {
		return last(x.form, name)
	}
	return cmp.Or(last(x.query, name), last(x.form, name))
}
