package proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/igproxy/igproxy/proxy/graph"
)

// checkToken is an invalid token, and also an invalid code.
const checkToken = "igproxy-check-this-is-no-token"

// CheckResult is the result of one test that CheckOnline made.
type CheckResult struct {
	Part string // what was tested, such as "upstream https://graph.instagram.com"
	Err  error  // what is wrong and what to do; nil: the test succeeded
}

// CheckOnline sends Meta an invalid token for each app, and also an invalid code if the app
// exchanges codes. It uses no cache, breaker or pause. A test succeeds if Meta refuses the token or
// the code. This shows that the network and TLS work. If Meta refuses the token, the client secret
// is right too, because Meta checks the secret first. CheckOnline returns an error only if o itself
// is invalid.
func CheckOnline(ctx context.Context, o Options) (results []CheckResult, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Cache = nil
	table := grants(o)
	apps, err := newApps(o, table, nil)
	if err != nil {
		return nil, err
	}
	ask := newAsk(o, carried{retries: newRetryBudget(), metrics: NewMetrics()}, newOutbound(o, func() {}))
	defer ask.out.CloseIdleConnections()
	for _, a := range apps {
		a.state.secrets.use(a.secrets)
		of := ""
		if len(apps) > 1 {
			of = " of app " + a.Label
		}
		c := call{grant: checkRow(table, a), app: a, token: NewSecret(checkToken),
			mayRetry: func() bool { return true }}
		results = append(results, CheckResult{"upstream " + c.grant.base.String() + of, checkCall(ctx, ask, c)})
		if len(a.RedirectURIs) > 0 {
			c.grant, c.redirect = codeRow(table, a), a.RedirectURIs[0]
			results = append(results, CheckResult{"login host " + c.grant.base.String() + of, checkCall(ctx, ask, c)})
		}
	}
	return results, nil
}

func checkCall(ctx context.Context, ask *askStep, c call) error {
	got, err := ask.Exchange(ctx, c)
	var e *graph.Error
	switch {
	case errors.As(err, &e):
		return withoutAnswer(e)
	case err != nil:
		return err
	case got.refusal == nil:
		return errors.New("the upstream issued a token in exchange for an invalid one; check that the upstream's URL is Meta's")
	}
	refusal := got.refusal
	if refusal.Subcode == graph.SubcodeLoop {
		return errors.New("the call came back to igproxy; remove igproxy's own address from HTTPS_PROXY and from the hosts file")
	}
	if c.grant.once && refusesCode(refusal) {
		return nil
	}
	switch refusal.Class {
	case graph.ClassToken:
		return nil
	case graph.ClassSecret:
		return errors.New("Meta refuses the client secret; " + advice[graph.ClassSecret])
	case graph.ClassAppLimit, graph.ClassUserLimit:
		return errors.New("the app is rate limited, so the client secret could not be tested; try again later")
	case graph.ClassStanding:
		return fmt.Errorf("the upstream answers with %w; %s", refusal, advice[graph.ClassStanding])
	}
	return fmt.Errorf("the upstream answers with %w instead of refusing an invalid token or code; "+
		"check the upstream's URL and its path", refusal)
}

// refusesCode reports whether the refusal of a code exchange means that the code is invalid.
// Instagram and Threads do not say which parameter they refuse; Facebook uses code 100.
func refusesCode(e *graph.Error) bool {
	return e.Class == graph.ClassRefused && (e.Flat && e.Subcode == 0 || !e.Flat && e.Code == 100 && e.Subcode != graph.SubcodeUnreadable)
}

// withoutAnswer returns an error that says why Meta gave no usable answer. It does not use the
// message of e, because the message may refer to Retry-After, which the command line does not show.
func withoutAnswer(e *graph.Error) error {
	switch e.Class {
	case graph.ClassUnreached:
		return fmt.Errorf("could not reach Meta (%s); check the network, the URL and upstream.ca_file", e.Cause)
	case graph.ClassTimeout:
		return fmt.Errorf("no answer from Meta in time (%s); check the network and the URL, or raise upstream.timeout", e.Cause)
	case graph.ClassBroken:
		return fmt.Errorf("the answer does not look like Meta's (%s); check the URL, or try again later", e.Cause)
	case graph.ClassHeld:
		return fmt.Errorf("igproxy could not make the call (%s); raise igproxy's limits", e.Cause)
	default:
		return fmt.Errorf("got %w from Meta; try again later", e)
	}
}
