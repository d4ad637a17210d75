package localserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// withCommand is the test programs' runtime with one more.
func withCommand(name string, c scripted.Command) *scripted.Runtime {
	return scripted.New(append(slices.Clone(programs), scripted.WithCommand(name, c))...)
}

// A plainRuntime says that it isolates nothing.
type plainRuntime struct{ *scripted.Runtime }

func (plainRuntime) Isolation() string { return "plain" }

// A brokenRuntime starts no container, with an error.
type brokenRuntime struct {
	*scripted.Runtime
	err error
}

func (r brokenRuntime) NewSandbox(ctx context.Context, spec container.SandboxSpec) (container.Sandbox, error) {
	sb, err := r.Runtime.NewSandbox(ctx, spec)
	return brokenSandbox{sb, r.err}, err
}

type brokenSandbox struct {
	container.Sandbox
	err error
}

func (s brokenSandbox) Start(context.Context, container.Spec) (container.Container, error) {
	return nil, s.err
}

func TestStart(t *testing.T) {
	t.Run("C-021", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			req := createOf(aSpec())
			req.Sandbox.DisplayName = "mine"
			sb, err := w.api.CreateSandbox(w.ctx, req)
			require.NoError(t, err)
			st := sb.GetStatus()
			assert.Regexp(t, `^sb-[a-z0-9]{20}$`, sb.GetSandboxId())
			assert.Equal(t, "mine", sb.GetDisplayName())
			assert.Equal(t, "main", sb.GetSpec().GetContainers()[0].GetName())
			assert.Equal(t, creating, st.GetState())
			assert.True(t, st.GetCreateTime().AsTime().Equal(time.Now()))
			assert.Nil(t, st.GetStartTime())
			assert.Nil(t, st.GetEndTime())
			assert.Equal(t, "local-runner", st.GetRunnerId())
			assert.Equal(t, "local", st.GetRunnerGroupId())
			assert.Equal(t, "main", st.GetContainerStatuses()[0].GetName())
			assert.Equal(t, creating, st.GetContainerStatuses()[0].GetState())
			assert.EqualValues(t, 600, st.GetEffectiveMaxLifetimeSeconds())
			assert.Equal(t, "<node-default>", st.GetEffectiveRuntimeClass())
			for _, r := range []*sandboxv1.Resources{
				st.GetEffectiveResources(), st.GetEffectiveResourceRequirements().GetRequests(), st.GetEffectiveResourceRequirements().GetLimits(),
			} {
				assert.Equal(t, "1 1Gi", r.GetCpu()+" "+r.GetMemory())
			}
			assert.True(t, st.GetEffectiveEgress()[0].GetAny())
			assert.Equal(t, sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_ALLOW, st.GetEffectiveDnsEgress())
		})
	})
	t.Run("C-022", func(t *testing.T) {
		const schedules = 1000
		order := []sandboxv1.State{pending, creating, running, terminating, completed, failed, terminated}
		inWorld(t, Options{PendingDelay: time.Millisecond, StartupSettle: time.Millisecond}, func(w *world) {
			rnd := rand.New(rand.NewPCG(1, 2))
			last := make(map[string]int)
			var deleters sync.WaitGroup
			defer deleters.Wait()
			for range schedules {
				id := w.create(command([]string{"wait-for-term", "ignore-term", "fail", "true"}[rnd.IntN(4)])).GetSandboxId()
				delay, grace := time.Duration(rnd.Int64N(int64(4*time.Millisecond))), time.Duration(rnd.IntN(2))*time.Second
				deleters.Go(func() {
					time.Sleep(delay)
					w.delete(id, grace)
				})
				last[id] = 0
			}
			poll := 50 * time.Microsecond
			for active := schedules; active > 0; poll += poll / 8 {
				resp, err := w.api.ListSandboxes(w.ctx, &sandboxv1.ListSandboxesRequest{ShowTerminated: true, PageSize: schedules})
				require.NoError(t, err)
				require.Len(t, resp.GetSandboxes(), schedules)
				active = 0
				for _, sb := range resp.GetSandboxes() {
					now := slices.Index(order, sb.GetStatus().GetState())
					require.GreaterOrEqual(t, now, last[sb.GetSandboxId()], "%v", sb)
					last[sb.GetSandboxId()] = now
					if !terminal(order[now]) {
						active++
					}
				}
				time.Sleep(poll)
			}
		})
	})
	t.Run("C-023", func(t *testing.T) {
		inWorld(t, Options{PendingDelay: time.Second}, func(w *world) {
			id := w.create().GetSandboxId()
			synctest.Wait()
			assert.Equal(t, pending, w.state(id))
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, running, w.state(id))
		})
		inWorld(t, Options{}, func(w *world) {
			assert.Equal(t, creating, w.create().GetStatus().GetState())
		})
	})
	t.Run("C-024", func(t *testing.T) {
		inWorld(t, Options{StartupSettle: time.Second}, func(w *world) {
			id := w.create().GetSandboxId()
			time.Sleep(time.Second - 1)
			synctest.Wait()
			assert.Equal(t, creating, w.state(id))
			start := w.get(id).GetStatus().GetStartTime().AsTime()
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			assert.Equal(t, running, w.state(id))
			w.delete(id, time.Second)
			synctest.Wait()
			assert.Equal(t, start, w.get(id).GetStatus().GetStartTime().AsTime())
		})
	})
	t.Run("a start that fails by request", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.srv.FailStart("broken", "image pull failed")
			id := w.create(tagged("broken")).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, failed, st.GetState())
			assert.Equal(t, "image pull failed", st.GetStateReason())
			assert.Nil(t, st.ExitCode)
			w.run()
		})
	})
}

func TestMainProcess(t *testing.T) {
	t.Run("C-025", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(command("true")).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, completed, st.GetState())
			require.NotNil(t, st.ExitCode)
			assert.EqualValues(t, 0, st.GetExitCode())
			assert.NotNil(t, st.GetEndTime())
			assert.Equal(t, completed, st.GetContainerStatuses()[0].GetState())
		})
	})
	t.Run("C-026", func(t *testing.T) {
		for _, settle := range []time.Duration{0, time.Second} {
			var starts atomic.Int32
			flaky := scripted.Command{Run: func(context.Context, *scripted.Proc) int {
				starts.Add(1)
				time.Sleep(10 * time.Millisecond)
				return 3
			}}
			inWorld(t, Options{Runtime: withCommand("flaky", flaky), StartupSettle: settle}, func(w *world) {
				id := w.create(command("flaky")).GetSandboxId()
				began, between := time.Now(), running
				if settle > 0 {
					between = creating
				}
				synctest.Wait()
				for range 6 {
					require.Equal(t, between, w.state(id))
					restarts := w.get(id).GetStatus().GetContainerStatuses()[0].GetRestartCount()
					for w.get(id).GetStatus().GetContainerStatuses()[0].GetRestartCount() == restarts && w.state(id) == between {
						time.Sleep(5 * time.Millisecond)
					}
				}
				for w.state(id) == between {
					time.Sleep(5 * time.Millisecond)
				}
				st := w.get(id).GetStatus()
				assert.Equal(t, failed, st.GetState())
				assert.EqualValues(t, 3, st.GetExitCode())
				assert.EqualValues(t, 6, st.GetContainerStatuses()[0].GetRestartCount())
				assert.EqualValues(t, 3, st.GetContainerStatuses()[0].GetExitCode())
				assert.Contains(t, st.GetStateReason(), "3")
				assert.EqualValues(t, 7, starts.Load())
				pauses := 100*(1+2+4+8+16) + 2000 // milliseconds, doubling up to two seconds
				assert.InDelta(t, time.Duration(pauses+70)*time.Millisecond, time.Since(began), float64(20*time.Millisecond))
			})
		}
	})
	t.Run("C-027", func(t *testing.T) {
		inWorld(t, Options{RestartPolicy: RestartNever}, func(w *world) {
			id := w.create(command("fail")).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, completed, st.GetState())
			assert.EqualValues(t, 3, st.GetExitCode())
		})
	})
	t.Run("C-028", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(command("nobody-has-this")).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, failed, st.GetState())
			assert.EqualValues(t, 127, st.GetExitCode())
			assert.Contains(t, st.GetStateReason(), "container main")
			assert.Nil(t, st.GetStartTime())
		})
		notExecutable := &container.StartError{Code: 126, Text: "/srv/data: permission denied"}
		inWorld(t, Options{Runtime: brokenRuntime{scripted.New(programs...), notExecutable}}, func(w *world) {
			id := w.create(command("/srv/data")).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, failed, st.GetState())
			assert.EqualValues(t, 126, st.GetExitCode())
			assert.EqualValues(t, 126, st.GetContainerStatuses()[0].GetExitCode())
			assert.Equal(t, "container main could not be started: /srv/data: permission denied", st.GetStateReason())
		})
	})
	t.Run("data calls wait for the next run", func(t *testing.T) {
		inWorld(t, Options{RestartDelay: time.Second}, func(w *world) {
			id := w.create(command("sh", "-c", "sleep 1; exit 1")).GetSandboxId()
			time.Sleep(1500 * time.Millisecond)
			began := time.Now()
			out, _, _ := w.exec(id, "echo", "there")
			assert.Equal(t, "there\n", out)
			assert.Equal(t, 500*time.Millisecond, time.Since(began))
			w.delete(id, 0)
		})
	})
	t.Run("an operation that meets the end of a run", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("sh", "-c", "sleep 1; exit 1"))
			ctx := context.WithValue(context.Background(), identityKey{}, identity{user: defaultUser, organization: defaultOrganization, admin: true})
			_, run, err := w.srv.target(ctx, id, "")
			require.NoError(t, err)
			why := func() error { return w.srv.runFault(ctx, id, "", run, errors.New("refused")) }
			w.requireRefused(refused{code: codes.Internal}, why())
			time.Sleep(1050 * time.Millisecond)
			w.requireRefused(isNotRunning, why())
			time.Sleep(time.Second)
			w.requireRefused(isNotRunning, why())
			w.srv.Forget(id)
			w.requireRefused(isGone, why())
		})
	})
	t.Run("data calls do not wait long", func(t *testing.T) {
		inWorld(t, Options{RestartDelay: time.Hour}, func(w *world) {
			id := w.create(command("sh", "-c", "sleep 1; exit 1")).GetSandboxId()
			time.Sleep(time.Second)
			synctest.Wait() // the main process has ended too
			began := time.Now()
			_, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}})
			w.requireRefused(isNotRunning, err)
			assert.Equal(t, "main", w.info(err).GetMetadata()["container"])
			assert.Equal(t, 2*time.Second, time.Since(began))
		})
	})
}

func TestLifetime(t *testing.T) {
	lifetime := func(seconds int32) func(*sandboxv1.SandboxSpec) {
		return func(s *sandboxv1.SandboxSpec) { s.MaxLifetimeSeconds = seconds }
	}
	t.Run("C-029", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for given, applied := range map[int32]int32{0: 600, 60: 60, 2592000: 2592000} {
				sb := w.create(lifetime(given))
				assert.Equal(t, applied, sb.GetStatus().GetEffectiveMaxLifetimeSeconds())
				assert.Equal(t, given, sb.GetSpec().GetMaxLifetimeSeconds())
			}
			for _, seconds := range []int32{-1, 2592001} {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(lifetime(seconds))))
				w.requireRefused(badField("spec.max_lifetime_seconds"), err)
			}
		})
	})
	t.Run("C-030", func(t *testing.T) {
		for _, end := range []sandboxv1.State{sandboxv1.State_STATE_UNSPECIFIED, failed, completed, terminated} {
			inWorld(t, Options{LifetimeEndsIn: end}, func(w *world) {
				polite := w.create(lifetime(60)).GetSandboxId()
				stubborn := w.create(lifetime(60), command("ignore-term")).GetSandboxId()
				time.Sleep(60*time.Second - 1)
				synctest.Wait()
				assert.Equal(t, running, w.state(polite))
				time.Sleep(time.Nanosecond)
				synctest.Wait()
				st := w.get(polite).GetStatus()
				assert.Equal(t, orDefault(end, failed), st.GetState())
				assert.Nil(t, st.ExitCode)
				assert.Contains(t, st.GetStateReason(), "lifetime of 60 s")
				assert.Equal(t, running, w.state(stubborn))
				time.Sleep(5 * time.Second)
				synctest.Wait()
				assert.Equal(t, orDefault(end, failed), w.state(stubborn))
			})
		}
	})
	t.Run("expiry by a test", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.srv.Expire(id)
			synctest.Wait()
			assert.Equal(t, failed, w.state(id))
		})
	})
	t.Run("a delete overtakes expiry", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("ignore-term"))
			w.srv.Expire(id)
			synctest.Wait()
			assert.Equal(t, terminating, w.delete(id, 0).GetStatus().GetState())
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
		})
	})
}

// twoContainers adds a helper before the primary.
func twoContainers(helper ...string) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) {
		yes := true
		s.Containers[0].Primary = &yes
		s.Containers = append([]*sandboxv1.Container{{Name: "helper", Image: "busybox", Command: helper[0], Args: helper[1:]}}, s.Containers...)
	}
}

func TestContainers(t *testing.T) {
	t.Run("C-052", func(t *testing.T) {
		inWorld(t, Options{RestartPolicy: RestartNever}, func(w *world) {
			id := w.create(command("fail"), twoContainers("wait-for-term")).GetSandboxId()
			synctest.Wait()
			list := w.get(id).GetStatus().GetContainerStatuses()
			assert.Equal(t, terminated, list[0].GetState())
			assert.Zero(t, list[0].GetExitCode())
			assert.Equal(t, completed, list[1].GetState())
			assert.EqualValues(t, 3, list[1].GetExitCode())
		})
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("ignore-term"), twoContainers("wait-for-term"))
			for _, c := range w.get(id).GetStatus().GetContainerStatuses() {
				assert.Equal(t, running, c.GetState())
			}
			w.delete(id, time.Second)
			time.Sleep(time.Second)
			synctest.Wait()
			for _, c := range w.get(id).GetStatus().GetContainerStatuses() {
				assert.Equal(t, terminated, c.GetState())
				assert.Zero(t, c.GetExitCode())
			}
			assert.EqualValues(t, 137, w.get(id).GetStatus().GetExitCode())
		})
	})
	t.Run("C-053", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(twoContainers("true"))
			list := w.get(id).GetStatus().GetContainerStatuses()
			assert.Equal(t, completed, list[0].GetState())
			assert.Equal(t, running, list[1].GetState())
			_, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}, Container: "helper"})
			w.requireRefused(isNotRunning, err)
			assert.Equal(t, "helper", w.info(err).GetMetadata()["container"])
		})
	})
	t.Run("a failing helper ends alone", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(twoContainers("fail"))
			time.Sleep(time.Minute)
			list := w.get(id).GetStatus().GetContainerStatuses()
			assert.Equal(t, failed, list[0].GetState())
			assert.EqualValues(t, 6, list[0].GetRestartCount())
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("a helper that cannot start ends the sandbox", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(twoContainers("nobody-has-this")).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, failed, st.GetState())
			assert.Nil(t, st.ExitCode, "the main process never ran")
			assert.EqualValues(t, 127, st.GetContainerStatuses()[0].GetExitCode())
		})
	})
}

// probed gives the first container a startup probe.
func probed(p *sandboxv1.Probe) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) { s.Containers[0].StartupProbe = p }
}

func TestStartupProbe(t *testing.T) {
	var healthy atomic.Bool
	check := scripted.Command{Run: func(context.Context, *scripted.Proc) int {
		if healthy.Load() {
			return 0
		}
		return 1
	}}
	t.Run("C-054", func(t *testing.T) {
		healthy.Store(false)
		inWorld(t, Options{Runtime: withCommand("check", check)}, func(w *world) {
			probe := &sandboxv1.Probe{Exec: []string{"check"}, InitialDelaySeconds: 2, PeriodSeconds: 5, FailureThreshold: 3}
			id := w.create(probed(probe)).GetSandboxId()
			time.Sleep(12*time.Second - 1)
			synctest.Wait()
			assert.Equal(t, creating, w.state(id))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, failed, st.GetState())
			assert.Contains(t, st.GetStateReason(), "startup probe of container main failed 3 times")
			assert.Equal(t, failed, st.GetContainerStatuses()[0].GetState())

			id = w.create(probed(probe)).GetSandboxId()
			time.Sleep(3 * time.Second)
			healthy.Store(true)
			assert.Equal(t, creating, w.state(id))
			time.Sleep(4 * time.Second)
			synctest.Wait()
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("a probe that hangs fails", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(probed(&sandboxv1.Probe{Exec: []string{"sleep", "infinity"}, FailureThreshold: 1})).GetSandboxId()
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, failed, w.state(id))
		})
	})
	t.Run("C-055", func(t *testing.T) {
		healthy.Store(false)
		inWorld(t, Options{Runtime: withCommand("check", check)}, func(w *world) {
			id := w.create(twoContainers("wait-for-term"), probed(&sandboxv1.Probe{Exec: []string{"check"}, PeriodSeconds: 1, FailureThreshold: 100})).GetSandboxId()
			time.Sleep(5500 * time.Millisecond)
			list := w.get(id).GetStatus().GetContainerStatuses()
			assert.Equal(t, running, list[0].GetState())
			assert.Equal(t, creating, list[1].GetState())
			healthy.Store(true)
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("a helper may finish before its probe", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.run(twoContainers("true"), probed(&sandboxv1.Probe{Exec: []string{"false"}, InitialDelaySeconds: 5}))
		})
	})
	t.Run("a helper that gives up before its probe ends the sandbox", func(t *testing.T) {
		inWorld(t, Options{RestartPolicy: RestartNever}, func(w *world) {
			id := w.create(twoContainers("fail"), probed(&sandboxv1.Probe{Exec: []string{"false"}, InitialDelaySeconds: 5})).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, failed, st.GetState())
			assert.True(t, strings.HasPrefix(st.GetStateReason(), "container helper"), st.GetStateReason())
		})
	})
}

func TestHooks(t *testing.T) {
	t.Run("C-056", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.srv.Pause(id)
			assert.Equal(t, sandboxv1.State_STATE_PAUSED, w.state(id))
			for name, err := range w.dataCalls(id) {
				w.requireRefused(isNotRunning, err)
				assert.Equal(t, "paused", w.info(err).GetMetadata()["state"], name)
			}
			w.srv.Resume(id)
			assert.Equal(t, running, w.state(id))
			w.srv.Pause(id)
			w.delete(id, time.Second)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			w.srv.Pause(id)
			assert.Equal(t, completed, w.state(id), "only a running sandbox can be paused")
		})
	})
	t.Run("hold and release", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, state := range []sandboxv1.State{pending, creating, running, terminating} {
				w.srv.Hold("held", state)
			}
			id := w.create(tagged("held"), command("sh", "-c", "sleep 60")).GetSandboxId()
			other := w.run()
			time.Sleep(time.Hour)
			assert.Equal(t, pending, w.state(id))
			assert.Equal(t, failed, w.state(other), "its lifetime was over")
			w.srv.Release("held")
			synctest.Wait()
			assert.NotEqual(t, pending, w.state(id))
		})
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.srv.Hold(id, terminating)
			w.delete(id, 0)
			time.Sleep(time.Hour)
			assert.Equal(t, terminating, w.state(id))
			w.srv.Release(id)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
		})
	})
	t.Run("one state at a time is held", func(t *testing.T) {
		for _, state := range []sandboxv1.State{pending, creating} {
			inWorld(t, Options{}, func(w *world) {
				w.srv.Hold("held", state)
				sb := w.create(tagged("held"))
				assert.Equal(t, state, sb.GetStatus().GetState())
				time.Sleep(time.Minute)
				assert.Equal(t, state, w.state(sb.GetSandboxId()))
				w.srv.Release("held")
				synctest.Wait()
				assert.Equal(t, running, w.state(sb.GetSandboxId()))
			})
		}
	})
	t.Run("a sandbox that is set to TERMINATING can be deleted", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.srv.SetState(id, terminating)
			w.delete(id, 0)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			assert.EqualValues(t, 137, w.get(id).GetStatus().GetExitCode())
			w.srv.SetState(w.run(), terminating) // ends with the server
		})
	})
	t.Run("set state and exit code", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.srv.SetState(id, creating)
			assert.Equal(t, creating, w.state(id))
			w.srv.SetState(id, failed)
			w.srv.SetState(id, running)
			assert.Equal(t, failed, w.state(id), "an end is final")
			w.srv.SetExitCode(id, 42)
			assert.EqualValues(t, 42, w.get(id).GetStatus().GetExitCode())
			assert.Empty(t, w.srv.Active())
		})
	})
	t.Run("forget", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(tagged("x"))
			w.srv.ForgetFor(id, time.Minute)
			for name, err := range w.everyCall(id) {
				assert.Error(t, err, name)
				w.requireRefused(isGone, err)
			}
			assert.Equal(t, []string{id}, w.srv.Active())
			time.Sleep(time.Minute)
			assert.Equal(t, running, w.state(id))
			w.srv.Forget("x")
			synctest.Wait()
			_, err := w.api.GetSandbox(w.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			w.requireRefused(isGone, err)
			assert.Empty(t, w.srv.Active())
		})
	})
	t.Run("records are copies", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(tagged("x"))
			w.srv.Sandboxes()[0].GetSpec().Tags[0] = "changed"
			assert.Equal(t, []string{"x"}, w.get(id).GetSpec().GetTags())
			assert.Equal(t, id, w.srv.Sandboxes()[0].GetSandboxId())
		})
	})
}
