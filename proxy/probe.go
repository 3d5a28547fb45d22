package proxy

import (
	"context"
	"errors"
	"fmt"
)

// probeToken is no token; Instagram checks the client secret before it looks at the token.
const probeToken = "igproxy-check-this-is-no-token"

// Probe asks Instagram once with a token that is none, past cache, breaker and hold. It proves the way there, TLS and the client
// secret: nil means that Instagram refused the token and nothing else. The error says what is wrong and what to do.
func Probe(ctx context.Context, o Options) error {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return err
	}
	table := offered(grants(o), o.Apps)
	apps, _, err := newApps(o, table, &holds{})
	if err != nil {
		return err
	}
	ask := &upstream{transport: newTransport(o), timeout: o.Timeout, maxBytes: o.MaxResponseBytes, retries: o.Retries,
		budget: newRetryBudget(), left: func(string) bool { return false }, userAgent: userAgent(o.Version), metrics: NewMetrics()}
	defer ask.retire()
	for _, a := range apps {
		if err := probe(ctx, ask, a, rowOf(at(table, exchangePath), a)); err != nil && len(apps) > 1 {
			return fmt.Errorf("app %s: %w", a.label, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func probe(ctx context.Context, ask *upstream, a *app, g *grant) error {
	got, err := ask.Exchange(ctx, call{grant: g, app: a, token: NewSecret(probeToken)})
	var e *GraphError
	switch {
	case errors.As(err, &e):
		return fmt.Errorf("%s (%s); check the network, upstream.url and upstream.ca_file", e.Message, e.cause)
	case err != nil:
		return err
	case got.refusal == nil:
		return errors.New("the upstream gave a token for one that is none; check that upstream.url is Instagram's")
	}
	switch refusal := got.refusal; refusal.class {
	case classToken:
		return nil
	case classSecret:
		return errors.New("the client secret is refused by Instagram; compare it with the Instagram app's (not the Facebook app's) in Meta's dashboard")
	case classAppLimit, classUserLimit:
		return errors.New("the app is rate limited, so the client secret could not be proven; try again later")
	case classStanding:
		return fmt.Errorf("the upstream answers with %w; %s", refusal, refusal.class.advice())
	default:
		return fmt.Errorf("the upstream answers with %w, not with a refusal of the token; check upstream.url, its path above all", refusal)
	}
}
