package proxy

import (
	"context"
	"errors"
	"fmt"

	"github.com/igproxy/igproxy/proxy/graph"
)

// probeToken is no token; Instagram checks the client secret before it looks at the token.
const probeToken = "igproxy-check-this-is-no-token"

// Proof is what Probe found out about one part.
type Proof struct {
	Part string // such as "upstream https://graph.instagram.com"
	Err  error  // nil: it is right; else what is wrong and what to do
}

// Probe asks once for each app with a token that is none, and once with a code that is none where codes are exchanged; past cache, breaker
// and hold. It proves the way there and TLS, and for tokens the client secret: a part is right when the token or the code was refused,
// and nothing else. The error is for Options that can't work.
func Probe(ctx context.Context, o Options) (proofs []Proof, err error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Cache = nil
	table := offered(grants(o), o.Apps)
	apps, _, err := newApps(o, table, &appStates{})
	if err != nil {
		return nil, err
	}
	ask := steps{o, carried{retries: newRetryBudget(), metrics: NewMetrics()}, newOutbound(o, func() {})}.newAsk()
	defer ask.out.CloseIdleConnections()
	for _, a := range apps {
		a.state.secrets.use(a.secrets)
		of := ""
		if len(apps) > 1 {
			of = " of app " + a.label
		}
		g := rowOf(at(table, exchangePath), a)
		proofs = append(proofs, Proof{"upstream " + g.base.String() + of, probe(ctx, ask, call{grant: g, app: a, token: NewSecret(probeToken)})})
		if g = rowOf(at(table, codePath), a); len(a.RedirectURIs) > 0 {
			c := call{grant: g, app: a, token: NewSecret(probeToken), redirect: a.RedirectURIs[0]}
			proofs = append(proofs, Proof{"codes at " + g.base.String() + of, probe(ctx, ask, c)})
		}
	}
	return proofs, nil
}

func probe(ctx context.Context, ask *askStep, c call) error {
	got, err := ask.Exchange(ctx, c)
	var e *graph.Error
	switch {
	case errors.As(err, &e):
		return fmt.Errorf("%s (%s); check the network, the URL and upstream.ca_file", e.Message, e.Cause)
	case err != nil:
		return err
	case got.refusal == nil:
		return errors.New("the upstream gave a token for one that is none; check that upstream.url is Instagram's")
	}
	refusal := got.refusal
	if c.grant.form && refusal.Flat && refusal.Subcode == 0 && refusal.Class == graph.ClassRefused { // it tells the code from nothing else
		return nil
	}
	switch refusal.Class {
	case graph.ClassToken:
		return nil
	case graph.ClassSecret:
		return errors.New("the client secret is refused by Instagram; compare it with the Instagram app's (not the Facebook app's) in Meta's dashboard")
	case graph.ClassAppLimit, graph.ClassUserLimit:
		return errors.New("the app is rate limited, so the client secret could not be proven; try again later")
	case graph.ClassStanding:
		return fmt.Errorf("the upstream answers with %w; %s", refusal, advice(refusal.Class))
	default:
		return fmt.Errorf("the upstream answers with %w, not with a refusal of the token; check upstream.url, its path above all", refusal)
	}
}
