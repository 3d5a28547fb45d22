package proxy

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// checking is a Proxy that runs CheckSecrets, in front of a simulated Meta that accepts one secret.
type checking struct {
	*Proxy
	o     Options
	began time.Time

	mu       sync.Mutex      // protects the fields below
	accepted string          // the client secret that Meta accepts
	silent   bool            // Meta does not answer
	calls    []time.Duration // when Meta was called, counted from the start
}

// silentSecret makes startChecking simulate a Meta that is silent from the start. startChecking
// trims the space, so the client secret is testSecret.
const silentSecret = testSecret + " "

func startChecking(t *testing.T, secret string, set func(*Options)) *checking {
	t.Helper()
	o := optionsFor(t, "https://graph.instagram.com", nil)
	o.Cache, o.Apps[0].Secret = newCache(t), NewSecret(strings.TrimSpace(secret))
	set(&o)
	m := &checking{o: o, began: time.Now(), accepted: testSecret, silent: secret == silentSecret}
	m.Proxy = newProxy(t, o)
	m.answer()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { m.CheckSecrets(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return m
}

// answer makes the simulated Meta answer the calls of the current engine.
func (m *checking) answer() {
	m.current.Load().guard.(*guardStep).next = exchangeFunc(func(ctx context.Context, c call) (answer, error) {
		m.mu.Lock()
		m.calls = append(m.calls, time.Since(m.began).Round(time.Second))
		silent, accepted := m.silent, m.accepted
		m.mu.Unlock()
		if silent {
			<-ctx.Done()
			return answer{}, errTimeout()
		}
		a := refusalAnswer(190, 0, "Cannot parse access token")
		if a.with = c.app.secrets[0]; !a.with.equal(NewSecret(accepted)) {
			a = refusalAnswer(100, 0, "Error validating client secret.")
			a.with = c.app.secrets[0]
		}
		return a, nil
	})
}

func (m *checking) reload(t *testing.T, secret string) {
	t.Helper()
	m.o.Apps = []App{{Secret: NewSecret(secret)}}
	if err := m.Reload(m.o); err != nil {
		t.Fatal(err)
	}
	m.answer()
}

func (m *checking) expect(t *testing.T, when, secret string, ready bool) {
	t.Helper()
	synctest.Wait()
	if r := m.Readiness(); r.ClientSecret != secret || r.Ready != ready {
		t.Errorf("%s: the secret is %s, want %s; ready: %v, want %v", when, r.ClientSecret, secret, r.Ready, ready)
	}
}

func (m *checking) called(t *testing.T, want ...time.Duration) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Equal(m.calls, want) {
		t.Errorf("Meta was called at %v after the start, want %v", m.calls, want)
	}
}

// A secret that no call has tested is not reported as accepted. Without CheckSecretsAtStart,
// igproxy does not call Meta before an app sends a request.
func TestAnUntestedSecretIsUnproven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startChecking(t, testSecret, func(*Options) {})
		time.Sleep(time.Hour)
		m.expect(t, "after an hour", secretUnproven, true)
		m.called(t)
	})
}

func TestASecretIsTestedAtTheStartAndAfterAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startChecking(t, testSecret, func(o *Options) { o.CheckSecretsAtStart = true })
		m.expect(t, "at the start", secretAccepted, true)
		m.reload(t, testSecret)
		time.Sleep(time.Minute)
		m.expect(t, "after a reload without a change", secretAccepted, true)
		m.reload(t, "another-secret-that-is-wrong")
		m.expect(t, "after a change", secretUnproven, true)
		time.Sleep(2 * time.Second)
		m.expect(t, "soon after a change", secretRefused, false)
		m.called(t, 0, 61*time.Second)
	})
}

// During a rollout, a sidecar with a wrong secret must not be ready even for a moment.
func TestTheSidecarIsNotReadyUntilTheTestsOfItsSecretsHaveEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startChecking(t, silentSecret, func(o *Options) { o.CheckSecretsAtStart = true; o.Timeout = 10 * time.Second })
		if m.Readiness().Ready {
			t.Error("before the first test: ready: true, want false")
		}
		time.Sleep(5 * time.Second)
		m.expect(t, "while Meta is silent", secretUnproven, false)
		time.Sleep(6 * time.Second)
		m.expect(t, "after upstream.timeout (an outage of Meta must not keep the sidecar unready)", secretUnproven, true)
		m.mu.Lock()
		m.silent = false
		m.mu.Unlock()
		time.Sleep(time.Minute)
		m.expect(t, "when Meta answers again, without a request from an app", secretAccepted, true)
	})
}

// A refused secret stays refused until Meta accepts it. The time between the tests grows.
func TestARefusedSecretStaysRefusedUntilACallIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startChecking(t, "a-secret-that-is-wrong", func(o *Options) { o.CheckSecretsAtStart = true })
		m.expect(t, "at the start", secretRefused, false)
		time.Sleep(25 * time.Minute)
		m.expect(t, "after 25 minutes", secretRefused, false)
		var want []time.Duration
		for at, wait := 0*time.Second, firstCheck; at < 25*time.Minute; wait = min(2*wait, lastCheck) {
			want = append(want, at)
			at += wait
		}
		m.called(t, want...)
		m.mu.Lock()
		m.accepted = "a-secret-that-is-wrong" // corrected in Meta's dashboard
		m.mu.Unlock()
		time.Sleep(lastCheck)
		m.expect(t, "after the correction, without a request from an app", secretAccepted, true)
	})
}

func TestARefusedSecretLeavesTheSidecarReadyIfReadyWhenRefusedIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startChecking(t, "a-secret-that-is-wrong", func(o *Options) { o.CheckSecretsAtStart, o.ReadyWhenRefused = true, true })
		if !m.Readiness().Ready {
			t.Error("with ReadyWhenRefused, before the first test: ready: false, want true")
		}
		m.expect(t, "with ReadyWhenRefused", secretRefused, true)
		m.Drain()
		m.expect(t, "while draining", secretRefused, false)
	})
}

// A rate limit also pauses the calls that igproxy makes by itself.
func TestATestOfASecretRespectsTheAppsPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := startChecking(t, "a-secret-that-is-wrong", func(o *Options) { o.CheckSecretsAtStart = true })
		synctest.Wait()
		limit := refusalAnswer(4, 0, "m").refusal
		limit.RetryAt = time.Now().Add(time.Hour)
		m.current.Load().apps[0].state.limit.begin(limit, time.Now())
		time.Sleep(30 * time.Minute)
		m.called(t, 0)
	})
}
