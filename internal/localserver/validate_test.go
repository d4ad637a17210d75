package localserver

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	spec = sandboxv1.SandboxSpec
	ctnr = sandboxv1.Container
)

// mainContainer changes the first container.
func mainContainer(change func(*ctnr)) func(*spec) { return func(s *spec) { change(s.Containers[0]) } }

func notImplemented(fields ...string) refused {
	return refused{codes.Unimplemented, "CWSANDBOX_NOT_IMPLEMENTED", fields}
}

func noRunner() refused {
	return refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_NO_SUITABLE_RUNNER"}
}

// A createFault is a change that makes a create fail, and how.
type createFault struct {
	name   string
	change func(*spec)
	want   refused
}

func (w *world) requireCreateFaults(faults []createFault) {
	w.Helper()
	for _, f := range faults {
		w.Logf("refusing %s", f.name)
		_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(f.change)))
		w.requireRefused(f.want, err)
	}
	assert.Empty(w, w.srv.Sandboxes(), "a refused create makes nothing")
}

func TestCreateIsValidated(t *testing.T) {
	const at = "spec.containers[0]."
	yes, no := true, false
	faults := []createFault{
		{"no containers", func(s *spec) { s.Containers = nil }, badField("spec.containers")},
		{"no image", mainContainer(func(c *ctnr) { c.Image = "" }), badField(at + "image")},
		{"no name", mainContainer(func(c *ctnr) { c.Name = "" }), badField(at + "name")},
		{"args without command", mainContainer(func(c *ctnr) { c.Command, c.Args = "", []string{"x"} }), badField(at + "args")},
		{"NUL in an argument", mainContainer(func(c *ctnr) { c.Args = []string{"x", "\x00"} }), badField(at + "args[1]")},
		{"relative directory", mainContainer(func(c *ctnr) { c.WorkingDir = "work" }), badField(at + "working_dir")},
		{"variable with =", mainContainer(func(c *ctnr) { c.EnvironmentVariables = map[string]string{"a=b": ""} }), badField(at + "environment_variables")},
		{"empty variable", mainContainer(func(c *ctnr) { c.EnvironmentVariables = map[string]string{"": ""} }), badField(at + "environment_variables")},
		{"relative file", mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "f"}} }), badField(at + "files[0].path")},
		{"directory as a file", mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "/f/"}} }), badField(at + "files[0].path")},
		{"repeated file", mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "/f"}, {Path: "/f"}} }), badField(at + "files[1].path")},
		{"repeated file in other words", mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "/f/g"}, {Path: "/f//g"}} }), badField(at + "files[1].path")},
		{"negative probe", mainContainer(func(c *ctnr) { c.StartupProbe = &sandboxv1.Probe{PeriodSeconds: -1} }), badField(at + "startup_probe.period_seconds")},
		{"both kinds of resources", mainContainer(func(c *ctnr) {
			c.Resources, c.ResourceRequirements = &sandboxv1.Resources{}, &sandboxv1.ResourceRequirements{}
		}), badField(at + "resources")},
		{"bad memory", mainContainer(func(c *ctnr) { c.Resources = &sandboxv1.Resources{Memory: "lots"} }), badField(at + "resources.memory")},
		{"bad cpu limit", mainContainer(func(c *ctnr) {
			c.ResourceRequirements = &sandboxv1.ResourceRequirements{Limits: &sandboxv1.Resources{Cpu: "-1"}}
		}), badField(at + "resource_requirements.limits.cpu")},
		{"request above limit", mainContainer(func(c *ctnr) {
			c.ResourceRequirements = &sandboxv1.ResourceRequirements{
				Requests: &sandboxv1.Resources{Memory: "2Gi"}, Limits: &sandboxv1.Resources{Memory: "2000M"},
			}
		}), badField(at + "resource_requirements.requests.memory")},
		{"seccomp word", mainContainer(func(c *ctnr) { c.SecurityContext = &sandboxv1.SecurityContext{SeccompProfile: "x"} }), badField(at + "security_context.seccomp_profile")},
		{"foreign capability", mainContainer(func(c *ctnr) {
			c.SecurityContext = &sandboxv1.SecurityContext{CapabilitiesAdd: []string{"CHOWN", "SYS_ADMIN"}}
		}), badField(at + "security_context.capabilities_add[1]")},
		{"no capability", mainContainer(func(c *ctnr) { c.SecurityContext = &sandboxv1.SecurityContext{CapabilitiesDrop: []string{"chown"}} }), badField(at + "security_context.capabilities_drop[0]")},
		{"empty pull credentials", mainContainer(func(c *ctnr) { c.ImagePullCredentials = &sandboxv1.ImagePullCredentials{} }), badField(
			at+"image_pull_credentials.registry", at+"image_pull_credentials.credentials.store_name", at+"image_pull_credentials.credentials.path",
		)},
		{"repeated secret variable", mainContainer(func(c *ctnr) {
			m := &sandboxv1.SecretMapping{Path: "p", EnvVar: "A"}
			c.SecretStores = []*sandboxv1.SecretStoreReference{{StoreName: "s", Secrets: []*sandboxv1.SecretMapping{m, m}}}
		}), badField(at + "secret_stores[0].secrets[1].env_var")},
		{"too many secrets", mainContainer(func(c *ctnr) {
			ref := &sandboxv1.SecretStoreReference{StoreName: "s"}
			for i := range 51 {
				ref.Secrets = append(ref.Secrets, &sandboxv1.SecretMapping{Path: "p", EnvVar: fmt.Sprint("A", i)})
			}
			c.SecretStores = []*sandboxv1.SecretStoreReference{ref}
		}), badField(at + "secret_stores")},
		{"no secret of a store", mainContainer(func(c *ctnr) { c.SecretStores = []*sandboxv1.SecretStoreReference{{StoreName: "s"}} }), badField(at + "secret_stores[0].secrets")},
		{"too many secrets in two containers", func(s *spec) {
			ref := &sandboxv1.SecretStoreReference{StoreName: "s"}
			for i := range 26 {
				ref.Secrets = append(ref.Secrets, &sandboxv1.SecretMapping{Path: "p", EnvVar: fmt.Sprint("A", i)})
			}
			s.Containers = append(s.Containers, &ctnr{Name: "second", Image: "i"})
			s.Containers[0].Primary = &yes
			for _, c := range s.Containers {
				c.SecretStores = []*sandboxv1.SecretStoreReference{ref}
			}
		}, badField("spec.containers[1].secret_stores")},
		{"empty annotation key", func(s *spec) { s.Annotations = map[string]string{"": "x"} }, badField("spec.annotations")},
		{"too many annotations", func(s *spec) {
			s.Annotations = make(map[string]string)
			for i := range 101 {
				s.Annotations[fmt.Sprint("k", i)] = ""
			}
		}, badField("spec.annotations")},
		{"network ids", func(s *spec) { s.NetworkIds = []string{"n"} }, notImplemented("spec.network_ids")},
		{"runtime class", func(s *spec) { s.RuntimeClass = "kata" }, badField("spec.runtime_class")},
		{"instance type", func(s *spec) { s.InstanceType = "big" }, badField("spec.instance_type")},
		{"undeclared volume", mainContainer(func(c *ctnr) { c.VolumeMounts = []*sandboxv1.VolumeMount{{Volume: "v", MountPath: "/v"}} }), badField(at + "volume_mounts[0].volume")},
		{"volume medium", func(s *spec) {
			s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v", Source: &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{Medium: 9}}}}
		}, badField("spec.volumes[0].scratch.medium")},
		{"unknown registered volume", func(s *spec) {
			s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v", Source: &sandboxv1.SandboxVolume_VolumeId{VolumeId: "vol-none"}}}
		}, refused{code: codes.NotFound, reason: "CWSANDBOX_VOLUME_NOT_FOUND"}},
		{"bad volume name", func(s *spec) { s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v v"}} }, badField("spec.volumes[0].name")},
		{"repeated volume", func(s *spec) { s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v"}, {Name: "v"}} }, badField("spec.volumes[1].name")},
		{"object storage", func(s *spec) { s.ObjectStorageAccess = &sandboxv1.ObjectStorageAccess{Buckets: []string{"b"}} }, refused{
			code: codes.FailedPrecondition, reason: "CWSANDBOX_INVALID_REQUEST",
		}},
		{"no buckets", func(s *spec) { s.ObjectStorageAccess = &sandboxv1.ObjectStorageAccess{} }, badField("spec.object_storage_access.buckets")},
		{"object prefix", func(s *spec) {
			s.ObjectStorageAccess = &sandboxv1.ObjectStorageAccess{Buckets: []string{"b"}, ObjectPrefix: "a/../b/"}
		}, badField("spec.object_storage_access.object_prefix")},
		{"deny egress with rules", func(s *spec) {
			s.Network = &sandboxv1.NetworkOptions{DenyEgress: &yes, Egress: []*sandboxv1.EgressRule{{Destination: &sandboxv1.EgressRule_Any{Any: true}}}}
		}, badField("spec.network.egress")},
	}
	for _, path := range []string{"v", "/", "/a/../b", "/a/", "/" + strings.Repeat("x", 256), "/proc/x", "/etc", "/var/run/secrets/x", "/mounted", "/mounted/below"} {
		faults = append(faults, createFault{"mount " + path, func(s *spec) {
			s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v"}}
			s.Containers[0].Files = []*sandboxv1.FileMount{{Path: "/mounted"}}
			s.Containers[0].VolumeMounts = []*sandboxv1.VolumeMount{{Volume: "v", MountPath: path}}
		}, badField(at + "volume_mounts[0].mount_path")})
	}
	for _, sub := range []string{"/a", "a/../b", "..", ".", "a/"} {
		faults = append(faults, createFault{"sub path " + sub, func(s *spec) {
			s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v"}}
			s.Containers[0].VolumeMounts = []*sandboxv1.VolumeMount{{Volume: "v", MountPath: "/v", SubPath: sub}}
		}, badField(at + "volume_mounts[0].sub_path")})
	}

	t.Run("C-070", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.requireCreateFaults(faults)
			for field, req := range map[string]*sandboxv1.CreateSandboxRequest{
				"sandbox":      {},
				"spec":         {Sandbox: &sandboxv1.Sandbox{}},
				"display_name": {Sandbox: &sandboxv1.Sandbox{Spec: aSpec(), DisplayName: strings.Repeat("ü", 129)}},
			} {
				_, err := w.api.CreateSandbox(w.ctx, req)
				w.requireRefused(badField(field), err)
			}
			w.requireOtherFaults()
		})
	})
	t.Run("existence, then what is allowed, then placement", func(t *testing.T) {
		notFound := refused{code: codes.NotFound, reason: "CWSANDBOX_VOLUME_NOT_FOUND"}
		noVolume := func(s *spec) {
			s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v", Source: &sandboxv1.SandboxVolume_VolumeId{VolumeId: "vol-none"}}}
		}
		noSnapshot := scratchOf("w", &sandboxv1.ScratchVolume{RestoreFromSnapshotId: "fss-none"})
		noStore := withSecrets(secretsFrom("nowhere", [3]string{"p", "", "A"}))
		byToken := serving(httpsOn(80, byToken))
		unenforceable := networked(reaching(toBlock("10.0.0.0/8")))
		gpu := mainContainer(func(c *ctnr) { c.Resources = &sandboxv1.Resources{Gpu: &sandboxv1.Gpu{Count: 1}} })
		noPlace := onRunner("other")
		inWorld(t, Options{MaxActiveSandboxes: 1, NoShareTokens: true}, func(w *world) {
			w.requireCreateFaults([]createFault{
				{"a volume before a store", allOf(noVolume, noStore), notFound},
				{"a volume before GPUs", allOf(noVolume, gpu), notFound},
				{"a volume before a network", allOf(noVolume, unenforceable), notFound},
				{"a volume before a runner", allOf(noVolume, noPlace), notFound},
				{"a snapshot before a runner", allOf(noSnapshot, noPlace), refused{code: codes.NotFound, reason: "CWSANDBOX_FSS_NOT_FOUND"}},
				{"a store before GPUs", allOf(noStore, gpu), noSecretStoreFor},
				{"share tokens before a network", allOf(byToken, unenforceable), refused{
					code: codes.FailedPrecondition, reason: "CWSANDBOX_HTTPS_SHARE_TOKEN_NOT_SUPPORTED",
				}},
			})
			w.create()
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(noVolume)))
			w.requireRefused(notFound, err)
		})
	})
	t.Run("what means nothing is accepted", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.create(func(s *spec) {
				s.Network = &sandboxv1.NetworkOptions{}
				s.Containers[0].SecurityContext = &sandboxv1.SecurityContext{}
				s.Containers[0].StartupProbe = &sandboxv1.Probe{}
				s.Containers[0].Primary = &no
			})
		})
	})
	t.Run("C-071", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(tagged("-", "ok", "_"), mainContainer(func(c *ctnr) { c.Image = "" }))))
			w.requireRefused(badField("spec.containers[0].image", "spec.tags[0]", "spec.tags[2]"), err)
		})
	})
}

// requireOtherFaults goes through the faults of the calls that are not creates.
func (w *world) requireOtherFaults() {
	w.Helper()
	id := w.run()
	files := func(path string) {
		_, err := w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: path})
		w.requireRefused(badField("path"), err)
		_, err = w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: path})
		w.requireRefused(badField("path"), err)
	}
	files("")
	files("/a\x00b")
	for name, err := range w.everyCall("") {
		require.Error(w, err, name)
		w.requireRefused(badField("sandbox_id"), err)
	}
	for _, req := range []*sandboxv1.DeleteSandboxRequest{
		{SandboxId: id, SnapshotVolumes: []string{"unknown"}}, {SandboxId: id, SnapshotVolumes: []string{"a", "a"}},
	} {
		_, err := w.api.DeleteSandbox(w.ctx, req)
		w.requireRefused(badField("snapshot_volumes"), err)
	}
	ended := w.run()
	w.srv.Hold(ended, terminating)
	w.delete(ended, 0)
	for _, state := range []string{"terminating", "completed"} {
		_, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: ended, SnapshotVolumes: []string{"v"}})
		w.requireRefused(isNotRunning, err)
		assert.Equal(w, state, w.info(err).GetMetadata()["state"])
		for name, err := range w.dataCalls(ended) {
			w.requireRefused(isNotRunning, err)
			assert.Equal(w, state, w.info(err).GetMetadata()["state"], name)
		}
		w.srv.Release(ended)
		for !terminal(w.state(ended)) {
			time.Sleep(time.Millisecond)
		}
	}
}

func TestContainerNames(t *testing.T) {
	named := func(names ...string) *sandboxv1.CreateSandboxRequest {
		s := &spec{}
		for i, name := range names {
			yes := i == 0
			s.Containers = append(s.Containers, &ctnr{Name: name, Image: "i", Primary: &yes})
		}
		return createOf(s)
	}
	t.Run("C-072", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, name := range []string{strings.Repeat("a", 63), "0", "dns-egress-x", "a-b", "cw-object-store-agents"} {
				_, err := w.api.CreateSandbox(w.ctx, named(name))
				assert.NoError(t, err, name)
			}
			for _, name := range []string{
				strings.Repeat("a", 64), "Main", "-a", "a-", "a.b", "cw-object-store-agent", "cw-object-store-agent-restore",
				"cw-object-store-agent-x", "cw-object-store-agent-restore-x", "dns-egress", "dns-egress-probe", "cws-engine",
			} {
				_, err := w.api.CreateSandbox(w.ctx, named(name))
				w.requireRefused(badField("spec.containers[0].name"), err)
			}
			_, err := w.api.CreateSandbox(w.ctx, named("a", "b", "a"))
			w.requireRefused(badField("spec.containers[2].name"), err)
		})
	})
	t.Run("C-073", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for primaries, ok := range map[[2]bool]bool{{}: false, {true, true}: false, {true, false}: true, {false, true}: true} {
				req := named("a", "b")
				for i := range primaries {
					req.Sandbox.Spec.Containers[i].Primary = &primaries[i]
				}
				if _, err := w.api.CreateSandbox(w.ctx, req); ok {
					assert.NoError(t, err)
				} else {
					w.requireRefused(badField("spec.containers"), err)
				}
			}
			no := false
			w.create(mainContainer(func(c *ctnr) { c.Primary = &no }))
		})
	})
	t.Run("C-074", func(t *testing.T) {
		formerly := func(number protowire.Number, value string) func(*spec) {
			return func(s *spec) {
				field := protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), value)
				s.ProtoReflect().SetUnknown(append(s.ProtoReflect().GetUnknown(), field...))
			}
		}
		two := func(s *spec) {
			s.Containers = append([]*ctnr{{Name: "side", Image: "i", Command: "true"}}, s.Containers...)
		}
		inWorld(t, Options{}, func(w *world) {
			id := w.run(two, formerly(2, "main"))
			assert.Contains(t, string(w.get(id).GetSpec().ProtoReflect().GetUnknown()), "main")
			w.run(formerly(2, "nobody"))
			for fault, change := range map[*refused]func(*spec){
				{codes.InvalidArgument, "CWSANDBOX_INVALID_REQUEST", []string{"spec.containers"}}:    func(s *spec) { two(s); formerly(2, "nobody")(s) },
				{codes.Unimplemented, "CWSANDBOX_NOT_IMPLEMENTED", []string{"spec.init_containers"}}: formerly(12, "x"),
			} {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(change)))
				w.requireRefused(*fault, err)
			}
		})
	})
}

func TestPlacement(t *testing.T) {
	t.Run("C-075", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			many := make([]string, 101)
			for i := range many {
				many[i] = fmt.Sprint("r", i)
			}
			w.requireCreateFaults([]createFault{
				{"no CKS", func(s *spec) { s.RunnerIds = []string{"local-runner"} }, badField("spec.runner_ids")},
				{"blank", onRunner("local-runner", " "), badField("spec.runner_ids")},
				{"repeated", onRunner("local-runner", "local-runner"), badField("spec.runner_ids")},
				{"too many", onRunner(many...), badField("spec.runner_ids")},
				{"too long", onRunner(strings.Repeat("x", 65<<10)), badField("spec.runner_ids")},
				{"unknown", onRunner("other"), refused{code: codes.Unavailable, reason: "CWSANDBOX_RUNNER_UNAVAILABLE"}},
			})
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(onRunner("other"))))
			var retry time.Duration
			for _, d := range status.Convert(err).Details() {
				if d, ok := d.(*errdetails.RetryInfo); ok {
					retry = d.GetRetryDelay().AsDuration()
				}
			}
			assert.Equal(t, time.Second, retry)
			assert.Equal(t, "local-runner", w.create(onRunner("other", "local-runner")).GetStatus().GetRunnerId())
		})
	})
	asking := func(cpu, memory string) func(*spec) {
		return mainContainer(func(c *ctnr) { c.Resources = &sandboxv1.Resources{Cpu: cpu, Memory: memory} })
	}
	exceeded := func(field string) refused {
		return refused{codes.InvalidArgument, "CWSANDBOX_RESOURCE_CEILING_EXCEEDED", []string{field}}
	}
	t.Run("C-076", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.requireCreateFaults([]createFault{
				{"cpu", asking("128001m", ""), exceeded("spec.containers[0].resources.cpu")},
				{"cpu as other clients may write it", asking("1e3", ""), exceeded("spec.containers[0].resources.cpu")},
				{"memory", asking("", "1025Gi"), exceeded("spec.containers[0].resources.memory")},
				{"together", func(s *spec) { asking("128", "")(s); twoContainers("true")(s) }, exceeded("spec.containers[1].resources.cpu")},
			})
			w.create(asking("128", "1Ti"))
		})
		inWorld(t, Options{ResourceCeiling: Ceiling{CPU: "2"}}, func(w *world) {
			w.requireCreateFaults([]createFault{{"cpu", asking("2.5", ""), exceeded("spec.containers[0].resources.cpu")}})
		})
	})
	t.Run("C-077", func(t *testing.T) {
		gpu := mainContainer(func(c *ctnr) { c.Resources = &sandboxv1.Resources{Gpu: &sandboxv1.Gpu{Count: 1}} })
		cks := func(s *spec) { s.Mode = sandboxv1.SandboxMode_SANDBOX_MODE_CKS }
		inWorld(t, Options{}, func(w *world) {
			w.requireCreateFaults([]createFault{
				{"serverless", gpu, refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_GPU_NOT_ALLOWED"}},
				{"CKS", func(s *spec) { gpu(s); cks(s) }, noRunner()},
				{"helper", func(s *spec) { twoContainers("true")(s); gpu(s) }, badField("spec.containers[0].resources.gpu")},
				{"negative", mainContainer(func(c *ctnr) { c.Resources = &sandboxv1.Resources{Gpu: &sandboxv1.Gpu{Count: -1}} }), badField("spec.containers[0].resources.gpu.count")},
			})
		})
	})
	t.Run("C-085", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			tags := []string{"a", "a", strings.Repeat("x", 59), "A.b_c-9"}
			assert.Equal(t, tags, w.create(tagged(tags...)).GetSpec().GetTags())
			for _, tag := range []string{strings.Repeat("x", 60), "x-", "", "a b", "ü"} {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(tagged(tag))))
				w.requireRefused(badField("spec.tags[0]"), err)
			}
		})
	})
}

func TestEffectiveResources(t *testing.T) {
	requirements := func(r, l *sandboxv1.Resources) func(*ctnr) {
		return func(c *ctnr) { c.ResourceRequirements = &sandboxv1.ResourceRequirements{Requests: r, Limits: l} }
	}
	sides := func(st *sandboxv1.SandboxStatus) string {
		e := st.GetEffectiveResourceRequirements()
		r, l := e.GetRequests(), e.GetLimits()
		return strings.Join([]string{r.GetCpu(), r.GetMemory(), l.GetCpu(), l.GetMemory()}, " ")
	}
	t.Run("C-044", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			sb := w.create(mainContainer(requirements(&sandboxv1.Resources{Cpu: "0.3", Memory: "700M"}, &sandboxv1.Resources{Cpu: "1500m", Memory: "1.5Gi"})))
			for _, st := range []*sandboxv1.SandboxStatus{sb.GetStatus(), w.get(sb.GetSandboxId()).GetStatus()} {
				assert.Equal(t, "0.3 700M 1500m 1.5Gi", sides(st))
				assert.Equal(t, "0.3", st.GetEffectiveResources().GetCpu())
			}
		})
	})
	t.Run("C-045", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			sb := w.create(twoContainers("true"), func(s *spec) {
				requirements(&sandboxv1.Resources{Cpu: "250m", Memory: "256Mi"}, nil)(s.Containers[0])
				requirements(nil, &sandboxv1.Resources{Cpu: "2", Memory: "512Mi"})(s.Containers[1])
			})
			assert.Equal(t, "2250m 768Mi 2250m 768Mi", sides(sb.GetStatus()))
			assert.Equal(t, "2 2Gi 2 2Gi", sides(w.create(twoContainers("true")).GetStatus()))
		})
	})
}

func TestPublishedPorts(t *testing.T) {
	const public, private = sandboxv1.Visibility_VISIBILITY_PUBLIC, sandboxv1.Visibility_VISIBILITY_PRIVATE
	serving := func(list ...*sandboxv1.Service) func(*spec) { return func(s *spec) { s.Services = list } }
	endpoint := func(v sandboxv1.Visibility, e *sandboxv1.EndpointSpec) func(*spec) {
		return serving(&sandboxv1.Service{Port: 80, Visibility: v, Endpoint: e})
	}
	const https, passthrough = sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS, sandboxv1.EndpointKind_ENDPOINT_KIND_TLS_PASSTHROUGH
	const openly = sandboxv1.EndpointAuth_ENDPOINT_AUTH_OPEN
	t.Run("C-078", func(t *testing.T) {
		inWorld(t, Options{PublishOn: new(MemoryPorts).Publish}, func(w *world) {
			w.requireCreateFaults([]createFault{
				{"repeated port", serving(&sandboxv1.Service{Port: 80}, &sandboxv1.Service{Port: 80}), badField("spec.services[1].port")},
				{"repeated name", serving(&sandboxv1.Service{Port: 80, Name: "a"}, &sandboxv1.Service{Port: 81, Name: "a"}), badField("spec.services[1].name")},
				{"port 0", serving(&sandboxv1.Service{}), badField("spec.services[0].port")},
				{"port 70000", serving(&sandboxv1.Service{Port: 70000}), badField("spec.services[0].port")},
				{"mixed", serving(&sandboxv1.Service{Port: 80, Visibility: public}, &sandboxv1.Service{Port: 81, Visibility: private}), notImplemented("spec.services")},
				{"unknown protocol", serving(&sandboxv1.Service{Port: 80, Protocol: 9}), badField("spec.services[0].protocol")},
				{"unknown visibility", serving(&sandboxv1.Service{Port: 80, Visibility: 9}), badField("spec.services[0].visibility")},
			})
			w.create(serving(&sandboxv1.Service{Port: 80, Visibility: private}, &sandboxv1.Service{Port: 81, Visibility: private}))
		})
	})
	t.Run("C-079", func(t *testing.T) {
		inWorld(t, Options{PublishOn: new(MemoryPorts).Publish}, func(w *world) {
			w.requireCreateFaults([]createFault{
				{"kind unset", endpoint(public, &sandboxv1.EndpointSpec{}), badField("spec.services[0].endpoint.kind")},
				{"HTTPS without auth", endpoint(public, &sandboxv1.EndpointSpec{Kind: https}), badField("spec.services[0].endpoint.auth")},
				{"passthrough with auth", endpoint(public, &sandboxv1.EndpointSpec{Kind: passthrough, Auth: openly}), badField("spec.services[0].endpoint.auth")},
				{"passthrough with a time", endpoint(public, &sandboxv1.EndpointSpec{Kind: passthrough, RequestTimeoutSeconds: 15}), badField("spec.services[0].endpoint.request_timeout_seconds")},
				{"private HTTPS", endpoint(private, &sandboxv1.EndpointSpec{Kind: https, Auth: openly}), badField("spec.services[0].visibility")},
				{"UDP HTTPS", serving(&sandboxv1.Service{
					Port: 80, Visibility: public, Protocol: sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_UDP,
					Endpoint: &sandboxv1.EndpointSpec{Kind: https, Auth: openly},
				}), badField("spec.services[0].protocol")},
				{"14 s", endpoint(public, &sandboxv1.EndpointSpec{Kind: https, Auth: openly, RequestTimeoutSeconds: 14}), badField("spec.services[0].endpoint.request_timeout_seconds")},
				{"901 s", endpoint(public, &sandboxv1.EndpointSpec{Kind: https, Auth: openly, RequestTimeoutSeconds: 901}), badField("spec.services[0].endpoint.request_timeout_seconds")},
				{"unknown auth", endpoint(public, &sandboxv1.EndpointSpec{Kind: https, Auth: 9}), badField("spec.services[0].endpoint.auth")},
			})
			for _, seconds := range []int32{0, 15, 900} {
				w.create(endpoint(public, &sandboxv1.EndpointSpec{Kind: https, Auth: openly, RequestTimeoutSeconds: seconds}))
			}
		})
	})
}
