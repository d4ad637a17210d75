package cwsandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var small = Resources{Requests: ResourceList{CPU: "100m", Memory: "64Mi"}}

// web and client are two containers that are right as they are.
func web(change ...func(*Container)) Container {
	c := Container{Name: "web", Image: "nginx", Resources: small}
	for _, f := range change {
		f(&c)
	}
	return c
}

func mainClient(change ...func(*Container)) Container {
	c := Container{Name: "client", Image: "python:3.12", Resources: small, Command: KeepAlive(), Primary: true}
	for _, f := range change {
		f(&c)
	}
	return c
}

// containersOn is the containers that a create of a session sends.
func containersOn(t *testing.T, session, own []Option) []*sandboxv1.Container {
	t.Helper()
	return merged(t, session, own).spec().GetContainers()
}

// fields are the fields at fault.
func fields(err error) (list []string) {
	var e *Error
	if errors.As(err, &e) {
		for _, v := range e.Violations {
			list = append(list, v.Field)
		}
	}
	return list
}

func TestContainersAsSent(t *testing.T) {
	full := Container{
		Name: "web", Image: "nginx", Command: []string{"nginx", "-g", "daemon off;"}, Env: map[string]string{"A": "1"}, Dir: "/srv",
		Resources: small, Files: []File{{"/b", []byte("x")}, {"/a", nil}},
		Secrets:         []Secret{{Store: "s", Name: "n"}},
		StartupProbe:    Probe{Command: []string{"true"}, InitialDelay: 1, Period: 1500 * time.Millisecond, Timeout: 2 * time.Second, Failures: 7},
		SecurityContext: SecurityContext{RunAsUser: new(0), Privileged: new(false)},
		PullCredentials: PullCredentials{Registry: "ghcr.io", Store: "s", Name: "p", Field: "f"},
	}
	list := containersOn(t, nil, []Option{WithContainers(full, mainClient())})
	require.Len(t, list, 2)
	assert.True(t, proto.Equal(&sandboxv1.Container{
		Name: "web", Image: "nginx", Command: "nginx", Args: []string{"-g", "daemon off;"},
		EnvironmentVariables: map[string]string{"A": "1"}, WorkingDir: "/srv",
		ResourceRequirements: &sandboxv1.ResourceRequirements{
			Requests: &sandboxv1.Resources{Cpu: "100m", Memory: "64Mi"}, Limits: &sandboxv1.Resources{Cpu: "100m", Memory: "64Mi"},
		},
		Files:        []*sandboxv1.FileMount{{Path: "/b", Content: []byte("x")}, {Path: "/a"}},
		SecretStores: []*sandboxv1.SecretStoreReference{{StoreName: "s", Secrets: []*sandboxv1.SecretMapping{{Path: "n", EnvVar: "n"}}}},
		StartupProbe: &sandboxv1.Probe{
			Exec: []string{"true"}, InitialDelaySeconds: 1, PeriodSeconds: 2, TimeoutSeconds: 2, FailureThreshold: 7,
		},
		SecurityContext: &sandboxv1.SecurityContext{RunAsUser: new(uint32(0)), Privileged: new(false)},
		ImagePullCredentials: &sandboxv1.ImagePullCredentials{
			Registry: "ghcr.io", Credentials: &sandboxv1.SecretSource{StoreName: "s", Path: "p", Field: "f"},
		},
	}, list[0]), "%v", list[0])
	assert.Nil(t, list[0].Primary)
	assert.True(t, list[1].GetPrimary())
	assert.Equal(t, keepAlive.name, list[1].GetCommand())

	t.Run("the same by options", func(t *testing.T) {
		alone := full
		alone.Name = ""
		one := containersOn(t, nil, []Option{WithContainers(alone)})
		assert.Equal(t, containerName, one[0].GetName())
		byOptions := containersOn(t, nil, []Option{
			WithImage("nginx"), WithCommand("nginx", "-g", "daemon off;"), WithEnv("A", "1"), WithDir("/srv"), WithResources(small),
			WithFile("/b", []byte("x")), WithFile("/a", nil), WithSecrets(full.Secrets...), WithStartupProbe(full.StartupProbe),
			WithSecurityContext(full.SecurityContext), WithPullCredentials(full.PullCredentials),
		})
		assert.True(t, proto.Equal(one[0], byOptions[0]), "%v\n%v", one[0], byOptions[0])
	})
	t.Run("nothing is sent of what is zero", func(t *testing.T) {
		_, c := sent(t, []Option{
			WithStartupProbe(full.StartupProbe), WithSecurityContext(full.SecurityContext), WithPullCredentials(full.PullCredentials),
		}, []Option{WithStartupProbe(Probe{}), WithSecurityContext(SecurityContext{}), WithPullCredentials(PullCredentials{})})
		assert.Nil(t, c.GetStartupProbe())
		assert.Nil(t, c.GetSecurityContext())
		assert.Nil(t, c.GetImagePullCredentials())
		assert.Nil(t, c.GetSecretStores())
	})
	t.Run("an image's own command", func(t *testing.T) {
		list := containersOn(t, nil, []Option{WithContainers(web(), mainClient())})
		assert.Empty(t, list[0].GetCommand())
		assert.Empty(t, list[0].GetArgs())
	})
	t.Run("what is passed may change afterwards", func(t *testing.T) {
		c := web(func(c *Container) {
			c.Env, c.Command, c.Files = map[string]string{"A": "1"}, []string{"a"}, []File{{"/a", []byte("x")}}
			c.SecurityContext.CapabilitiesDrop, c.Secrets = []string{"ALL"}, []Secret{{Store: "s", Name: "n"}}
			c.SecurityContext.RunAsUser = new(1)
		})
		option := WithContainers(c)
		c.Env["A"], c.Command[0], c.Files[0].Data[0], c.SecurityContext.CapabilitiesDrop[0] = "2", "b", 'y', "NONE"
		c.Secrets[0].Name, *c.SecurityContext.RunAsUser = "z", 2
		m := containersOn(t, nil, []Option{option})[0]
		assert.Equal(t, "1", m.GetEnvironmentVariables()["A"])
		assert.Equal(t, "a", m.GetCommand())
		assert.Equal(t, "x", string(m.GetFiles()[0].GetContent()))
		assert.Equal(t, []string{"ALL"}, m.GetSecurityContext().GetCapabilitiesDrop())
		assert.Equal(t, "n", m.GetSecretStores()[0].GetSecrets()[0].GetPath())
		assert.EqualValues(t, 1, m.GetSecurityContext().GetRunAsUser())
	})
}

func TestContainersOverLayers(t *testing.T) {
	both := WithContainers(web(), mainClient())
	t.Run("weaker layers are skipped", func(t *testing.T) {
		for name, lists := range map[string][2][]Option{
			"session under a call":        {{WithImage("other"), WithEnv("A", "1"), WithSecrets(Secret{Store: "s", Name: "n"})}, {both}},
			"session under a call bundle": {{WithImage("other")}, {Defaults(both)}},
			"bundle of the call":          {nil, {both, Defaults(WithImage("other"))}},
			"session's containers":        {{WithContainers(mainClient())}, {both}},
		} {
			list := containersOn(t, lists[0], lists[1])
			require.Len(t, list, 2, name)
			assert.Equal(t, "nginx", list[0].GetImage(), name)
			assert.Empty(t, list[1].GetSecretStores(), name)
		}
	})
	t.Run("others are an error", func(t *testing.T) {
		for name, lists := range map[string][2][]Option{
			"one list":              {nil, {both, WithImage("other")}},
			"one bundle":            {{Defaults(WithEnv("A", "1"), both)}, nil},
			"call over session":     {{both}, {WithDir("/x")}},
			"bundle over session":   {{both}, {Defaults(WithoutEnv("A"))}},
			"call over its bundle":  {nil, {Defaults(both), WithFile("/f", nil)}},
			"secrets of the call":   {nil, {both, WithSecrets(Secret{Store: "s", Name: "n"})}},
			"security of the call":  {nil, {both, WithSecurityContext(SecurityContext{})}},
			"probe of the call":     {nil, {both, WithStartupProbe(Probe{})}},
			"credentials":           {nil, {both, WithPullCredentials(PullCredentials{})}},
			"resources of the call": {nil, {both, WithResources(small)}},
		} {
			_, err := newCreateConfig("create", environment{}, lists[0], lists[1])
			require.ErrorIs(t, err, ErrInvalidArgument, name)
			assert.Equal(t, []string{"spec.containers"}, fields(err), name)
		}
	})
	t.Run("none clears", func(t *testing.T) {
		list := containersOn(t, []Option{both}, []Option{WithContainers(), WithImage("other")})
		require.Len(t, list, 1)
		assert.Equal(t, "other", list[0].GetImage())
	})
	t.Run("other options stay", func(t *testing.T) {
		spec := merged(t, []Option{WithTags("t")}, []Option{both, WithAnnotation("k", "v"), WithRuntimeClass("kata"), WithInstanceType("big")}).spec()
		assert.Equal(t, []string{"t"}, spec.GetTags())
		assert.Equal(t, "kata", spec.GetRuntimeClass())
		assert.Equal(t, "big", spec.GetInstanceType())
		spec = merged(t, []Option{WithRuntimeClass("kata"), WithInstanceType("big")}, []Option{WithRuntimeClass(""), WithInstanceType("")}).spec()
		assert.Empty(t, spec.GetRuntimeClass())
		assert.Empty(t, spec.GetInstanceType())
	})
}

func TestContainersAreChecked(t *testing.T) {
	named := func(name string) func(*Container) { return func(c *Container) { c.Name = name } }
	for name, row := range map[string]struct {
		containers []Container
		want       []string
	}{
		"no name":      {[]Container{web(named("")), mainClient()}, []string{"spec.containers[0].name"}},
		"a name twice": {[]Container{web(named("client")), mainClient()}, []string{"spec.containers[1].name"}},
		"no resources": {[]Container{web(func(c *Container) { c.Resources = Resources{} }), mainClient()},
			[]string{"spec.containers[0].resource_requirements"}},
		"no primary":    {[]Container{web(), mainClient(func(c *Container) { c.Primary = false })}, []string{"spec.containers"}},
		"two primaries": {[]Container{web(func(c *Container) { c.Primary = true }), mainClient()}, []string{"spec.containers"}},
		"a GPU elsewhere": {[]Container{web(func(c *Container) { c.Resources.GPU = &GPU{Count: 1} }), mainClient()},
			[]string{"spec.containers[0].resource_requirements.requests.gpu"}},
		"no image":      {[]Container{web(func(c *Container) { c.Image = "" }), mainClient()}, []string{"spec.containers[0].image"}},
		"empty program": {[]Container{web(), mainClient(func(c *Container) { c.Command = []string{""} })}, []string{"spec.containers[1].command"}},
		"NUL":           {[]Container{web(func(c *Container) { c.Command = []string{"a", "b\x00"} })}, []string{"spec.containers[0].args[0]"}},
		"a variable":    {[]Container{web(func(c *Container) { c.Env = map[string]string{"A=B": ""} })}, []string{"spec.containers[0].environment_variables"}},
		"relative dir":  {[]Container{web(func(c *Container) { c.Dir = "x" })}, []string{"spec.containers[0].working_dir"}},
		"amount":        {[]Container{web(func(c *Container) { c.Resources.Requests.CPU = "-1" })}, []string{"spec.containers[0].resource_requirements.requests.cpu"}},
		"files": {[]Container{web(func(c *Container) { c.Files = []File{{Path: "/a"}, {Path: "b"}, {Path: "/a"}} })},
			[]string{"spec.containers[0].files[1].path", "spec.containers[0].files[2].path"}},
		"secret": {[]Container{web(func(c *Container) {
			c.Secrets = []Secret{{Store: "s", Name: "a"}, {Name: "b"}, {Store: "s", Name: ""}, {Store: "s", Name: "x", Field: " ", Env: "A=B"}}
		})}, []string{"spec.containers[0].secret_stores[1].secrets[0].store_name", "spec.containers[0].secret_stores[0].secrets[1].path",
			"spec.containers[0].secret_stores[0].secrets[2].field", "spec.containers[0].secret_stores[0].secrets[2].env_var"}},
		"two secrets for a variable": {[]Container{web(), mainClient(func(c *Container) {
			c.Secrets = []Secret{{Store: "s", Name: "a", Env: "E"}, {Store: "t", Name: "a", Env: "E"}}
		})}, []string{"spec.containers[1].secret_stores[1].secrets[0].env_var"}},
		"probe": {[]Container{web(func(c *Container) { c.StartupProbe = Probe{Period: -1, Failures: -1} })},
			[]string{"spec.containers[0].startup_probe.exec", "spec.containers[0].startup_probe.period_seconds",
				"spec.containers[0].startup_probe.failure_threshold"}},
		"security": {[]Container{web(func(c *Container) {
			c.SecurityContext = SecurityContext{RunAsUser: new(-1), RunAsGroup: new(1 << 32), CapabilitiesAdd: []string{""}, SeccompProfile: "x"}
		})}, []string{"spec.containers[0].security_context.run_as_user", "spec.containers[0].security_context.run_as_group",
			"spec.containers[0].security_context.capabilities_add[0]", "spec.containers[0].security_context.seccomp_profile"}},
		"credentials": {[]Container{web(func(c *Container) { c.PullCredentials = PullCredentials{Registry: "HTTPS://x"} })},
			[]string{"spec.containers[0].image_pull_credentials.registry", "spec.containers[0].image_pull_credentials.credentials.store_name",
				"spec.containers[0].image_pull_credentials.credentials.path"}},
	} {
		err := createError(WithContainers(row.containers...))
		require.ErrorIs(t, err, ErrInvalidArgument, name)
		assert.Equal(t, row.want, fields(err), name)
	}
	for _, name := range []string{
		"A", "-a", "a-", "a_b", strings.Repeat("a", 64), "cw-object-store-agent", "cw-object-store-agent-restore",
		"cw-object-store-agent-x", "dns-egress", "dns-egress-probe", "cws-engine",
	} {
		err := createError(WithContainers(web(named(name)), mainClient()))
		assert.Equal(t, []string{"spec.containers[0].name"}, fields(err), name)
	}
	for _, name := range []string{"a", "0", "a-b", strings.Repeat("a", 63), "cw-object-store-agents", "dns-egress-x"} {
		assert.NoError(t, createError(WithContainers(web(named(name)), mainClient())), name)
	}
	assert.NoError(t, createError(WithContainers(Container{Image: "a"})), "an only one needs neither name nor resources")
}

func TestSecrets(t *testing.T) {
	token := Secret{Store: "s", Name: "n", Env: "E"}
	t.Run("K-061", func(t *testing.T) {
		named := Secret{Store: "s", Name: "N"}
		_, c := sent(t, []Option{Defaults(WithSecrets(token, named))}, []Option{WithSecrets(token, Secret{Store: "s", Name: "N", Env: "N"})})
		require.Len(t, c.GetSecretStores(), 1)
		assert.Len(t, c.GetSecretStores()[0].GetSecrets(), 2)

		_, c = sent(t, nil, []Option{WithContainers(Container{Image: "a", Secrets: []Secret{token, named, token, {Store: "s", Name: "N", Env: "N"}}})})
		require.Len(t, c.GetSecretStores(), 1)
		assert.Len(t, c.GetSecretStores()[0].GetSecrets(), 2)
	})
	t.Run("K-062", func(t *testing.T) {
		_, err := newCreateConfig("create", environment{}, []Option{Defaults(WithSecrets(token))}, []Option{WithSecrets(Secret{"t", "m", "f", "E"})})
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.Equal(t, []string{"spec.containers[0].secret_stores[1].secrets[0].env_var"}, fields(err))
		assert.ErrorContains(t, err, "E must not be both s/n and t/m#f")
	})
	t.Run("K-063", func(t *testing.T) {
		_, err := newCreateConfig("create", environment{}, []Option{WithEnv("E", "plain-value")}, []Option{WithSecrets(token)})
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "E is a plain environment variable too")
		assert.NotContains(t, err.Error(), "plain-value")
		assert.NoError(t, createError(WithEnv("E", "x"), WithoutEnv("E"), WithSecrets(token)))
	})
	t.Run("K-091", func(t *testing.T) {
		many := make([]Secret, 51)
		for i := range many {
			many[i] = Secret{Store: "s", Name: fmt.Sprintf("n%d", i)}
		}
		assert.NoError(t, createError(WithSecrets(many[:50]...)))
		assert.Equal(t, []string{"spec.containers[0].secret_stores"}, fields(createError(WithSecrets(many...))))
		split := func(n int) error {
			return createError(WithContainers(web(func(c *Container) { c.Secrets = many[:n] }), mainClient(func(c *Container) { c.Secrets = many[:10] })))
		}
		assert.NoError(t, split(40))
		assert.Equal(t, []string{"spec.containers[1].secret_stores"}, fields(split(41)), "of all containers together")
		for _, s := range []Secret{{Name: "n"}, {Store: "s"}, {Store: "s", Env: "E"}, {Store: " ", Name: "n"}, {Store: "s", Name: "n", Env: "A=B"}} {
			err := createError(WithSecrets(s))
			require.ErrorIs(t, err, ErrInvalidArgument, s)
			assert.ErrorContains(t, err, "WithSecrets")
		}
	})
	t.Run("grouped by store in the order of first use", func(t *testing.T) {
		_, c := sent(t, []Option{WithSecrets(Secret{"b", "1", "", ""})}, []Option{
			WithSecrets(Secret{"a", "2", "f", "X"}, Secret{"b", "3", "", "Y"}), WithSecrets(Secret{"a", "4", "", ""}),
		})
		assert.True(t, proto.Equal(&sandboxv1.Container{SecretStores: []*sandboxv1.SecretStoreReference{
			{StoreName: "b", Secrets: []*sandboxv1.SecretMapping{{Path: "1", EnvVar: "1"}, {Path: "3", EnvVar: "Y"}}},
			{StoreName: "a", Secrets: []*sandboxv1.SecretMapping{{Path: "2", Field: "f", EnvVar: "X"}, {Path: "4", EnvVar: "4"}}},
		}}, &sandboxv1.Container{SecretStores: c.GetSecretStores()}), "%v", c.GetSecretStores())
	})
}

func TestObjectStorage(t *testing.T) {
	good := ObjectStorage{Buckets: []string{"a", "b"}, Permission: ObjectStorageReadWrite, Prefix: "runs/4.2_x-y/"}
	spec, _ := sent(t, []Option{WithObjectStorage(ObjectStorage{Buckets: []string{"z"}, Permission: ObjectStorageRead})}, []Option{WithObjectStorage(good)})
	assert.True(t, proto.Equal(&sandboxv1.ObjectStorageAccess{
		Buckets: []string{"a", "b"}, ObjectPrefix: "runs/4.2_x-y/",
		Permission: sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ_WRITE,
	}, spec.GetObjectStorageAccess()))
	spec, _ = sent(t, []Option{WithObjectStorage(good)}, []Option{WithObjectStorage(ObjectStorage{})})
	assert.Nil(t, spec.GetObjectStorageAccess(), "cleared")

	for field, change := range map[string]func(*ObjectStorage){
		"buckets":    func(o *ObjectStorage) { o.Buckets = nil },
		"buckets[1]": func(o *ObjectStorage) { o.Buckets = []string{"a", "a"} },
		"buckets[0]": func(o *ObjectStorage) { o.Buckets = []string{""} },
		"permission": func(o *ObjectStorage) { o.Permission = 7 },
	} {
		o := good.clone()
		change(&o)
		assert.Equal(t, []string{"spec.object_storage_access." + field}, fields(createError(WithObjectStorage(o))), field)
	}
	for _, prefix := range []string{"a", "/a/", "a//b/", "a/../b/", ".a/", "ä/", strings.Repeat("a", 512) + "/"} {
		o := ObjectStorage{[]string{"a"}, ObjectStorageRead, prefix}
		assert.Equal(t, []string{"spec.object_storage_access.object_prefix"}, fields(createError(WithObjectStorage(o))), prefix)
	}
	assert.Equal(t, "read-write", ObjectStorageReadWrite.String())
	assert.Equal(t, "ObjectStoragePermission(7)", ObjectStoragePermission(7).String())
}

// A context's unset, false and true are three things.
func TestPresenceOfSecurityContext(t *testing.T) {
	for _, value := range []*bool{nil, new(false), new(true)} {
		_, c := sent(t, nil, []Option{WithSecurityContext(SecurityContext{
			Privileged: value, AllowPrivilegeEscalation: value, ReadOnlyRootFilesystem: value, SeccompProfile: SeccompUnconfined,
		})})
		got := c.GetSecurityContext()
		assert.Equal(t, value, got.Privileged)
		assert.Equal(t, value, got.AllowPrivilegeEscalation)
		assert.Equal(t, value, got.ReadOnlyRootFilesystem)
		assert.Nil(t, got.RunAsUser)
		assert.Equal(t, SecurityContext{
			Privileged: value, AllowPrivilegeEscalation: value, ReadOnlyRootFilesystem: value, SeccompProfile: SeccompUnconfined,
		}, securityContextOf(got))
	}
	_, c := sent(t, nil, []Option{WithSecurityContext(SecurityContext{RunAsUser: new(0), RunAsGroup: new(1<<32 - 1)})})
	require.NotNil(t, c.GetSecurityContext().RunAsUser)
	assert.Zero(t, c.GetSecurityContext().GetRunAsUser())
	assert.EqualValues(t, 1<<32-1, c.GetSecurityContext().GetRunAsGroup())
}

func TestContainersPrintWithoutSecrets(t *testing.T) {
	c := web(func(c *Container) {
		c.Env, c.Files = map[string]string{"TOKEN": "hidden"}, []File{{"/f", []byte("hidden")}}
		c.Secrets, c.SecurityContext.RunAsUser = []Secret{{"s", "n", "f", "E"}}, new(7)
		c.Primary = true
	})
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("made", "container", c, "info", fmt.Sprint(Info{Containers: []ContainerInfo{{Spec: c}}}))
	for _, text := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", []Container{c}), fmt.Sprint(WithContainers(c)), logged.String(),
	} {
		assert.Contains(t, text, "TOKEN")
		assert.Contains(t, text, "s/n#f as E")
		assert.NotContains(t, text, "hidden")
		assert.NotContains(t, text, fmt.Sprint([]byte("hidden")))
	}
	assert.Equal(t, `WithContainers({Name: "web", Image: "nginx", Env: ["TOKEN"], Resources: requests {CPU:100m Memory:64Mi}, limits {CPU: Memory:}, `+
		`File: "/f" (6 bytes), Secret: s/n#f as E, SecurityContext: {RunAsUser: 7}, Primary})`, fmt.Sprint(WithContainers(c)))
	assert.Equal(t, `WithSecrets(s/n as n)`, fmt.Sprint(WithSecrets(Secret{Store: "s", Name: "n"})))
}

func TestContainersAsSeen(t *testing.T) {
	given := []Container{
		web(func(c *Container) {
			c.Env, c.Command, c.Dir = map[string]string{"A": "1"}, []string{"nginx", "-x"}, "/srv"
			c.Secrets = []Secret{{"s", "n", "f", "E"}}
			c.StartupProbe = Probe{Command: []string{"true"}, Period: time.Second, Failures: 2}
			c.SecurityContext = SecurityContext{RunAsUser: new(5), CapabilitiesDrop: []string{"ALL"}}
			c.PullCredentials = PullCredentials{"r", "s", "n", "f"}
		}),
		mainClient(),
	}
	spec := merged(t, nil, []Option{WithContainers(given...)}).spec()
	status := &sandboxv1.SandboxStatus{
		EffectiveRuntimeClass: "<node-default>",
		EffectiveResourceRequirements: &sandboxv1.ResourceRequirements{
			Requests: &sandboxv1.Resources{Cpu: "200m", Gpu: &sandboxv1.Gpu{Count: 1, Selector: &sandboxv1.Gpu_Type{Type: "H100"}}},
			Limits:   &sandboxv1.Resources{Cpu: "1"},
		},
		ContainerStatuses: []*sandboxv1.ContainerStatus{
			{Name: "client", State: sandboxv1.State_STATE_RUNNING, ExitCode: 9},
			{Name: "web", State: sandboxv1.State_STATE_FAILED, ExitCode: 3, RestartCount: 6},
			{Name: "unheard-of", State: sandboxv1.State_STATE_COMPLETED},
		},
	}
	i := infoOf(&sandboxv1.Sandbox{Spec: spec, Status: status}, time.Now())
	require.Len(t, i.Containers, 3)
	first, second, third := i.Containers[0], i.Containers[1], i.Containers[2]
	given[0].Resources.Limits = given[0].Resources.Requests // as they were sent
	given[1].Resources.Limits = given[1].Resources.Requests
	assert.Equal(t, ContainerInfo{Name: "web", State: StateFailed, ExitCode: new(3), Restarts: 6, Spec: given[0]}, first)
	assert.Equal(t, ContainerInfo{Name: "client", State: StateRunning, Spec: given[1]}, second)
	assert.Equal(t, ContainerInfo{Name: "unheard-of", State: StateCompleted, ExitCode: new(0)}, third)
	assert.Equal(t, "<node-default>", i.RuntimeClass)
	assert.Equal(t, Resources{ResourceList{CPU: "200m"}, ResourceList{CPU: "1"}, &GPU{Count: 1, Type: "H100"}}, i.Resources)

	t.Run("a copy shares nothing", func(t *testing.T) {
		c := i.clone()
		before, err := json.Marshal(i)
		require.NoError(t, err)
		c.Containers[0].Spec.Env["A"], *c.Containers[0].ExitCode, c.Containers[0].Spec.Command[0] = "2", 7, "x"
		c.Containers[1].Name, c.Resources.GPU.Count, *c.Containers[0].Spec.SecurityContext.RunAsUser = "y", 9, 6
		after, err := json.Marshal(i)
		require.NoError(t, err)
		assert.JSONEq(t, string(before), string(after))
	})
	t.Run("files are not kept", func(t *testing.T) {
		i := infoOf(&sandboxv1.Sandbox{Spec: merged(t, nil, []Option{WithFile("/f", []byte("x"))}).spec()}, time.Now())
		assert.Empty(t, i.Containers[0].Spec.Files)
		assert.True(t, i.Containers[0].Spec.Primary, "an only one is")
	})
	t.Run("older resources", func(t *testing.T) {
		i := infoOf(&sandboxv1.Sandbox{Status: &sandboxv1.SandboxStatus{EffectiveResources: &sandboxv1.Resources{Cpu: "1", Memory: "1Gi"}}}, time.Now())
		assert.Equal(t, Resources{Requests: ResourceList{"1", "1Gi"}, Limits: ResourceList{"1", "1Gi"}}, i.Resources)
	})
}

// The lease watches the main process of the primary container.
func TestLeaseOfSeveralContainers(t *testing.T) {
	c := merged(t, nil, []Option{WithLease(time.Minute), WithContainers(web(), mainClient())})
	c.wrap("id")
	list := c.messages()
	assert.Empty(t, list[0].GetCommand())
	assert.Contains(t, strings.Join(list[1].GetArgs(), " "), keepAlive.args[1])
	assert.NotEqual(t, keepAlive.args, list[1].GetArgs())
	err := createError(WithLease(time.Minute), WithContainers(web(), mainClient(func(c *Container) { c.Command = nil })))
	assert.Equal(t, []string{"lease"}, fields(err))
}

func TestContainersOverATemplate(t *testing.T) {
	template, both := WithTemplate("t-1"), WithContainers(web(), mainClient())
	weaker := []Option{
		WithSecrets(Secret{Store: "s", Name: "n"}), WithStartupProbe(Probe{Command: []string{"true"}}), WithRuntimeClass("kata"),
		WithSecurityContext(SecurityContext{RunAsUser: new(1)}), WithPullCredentials(PullCredentials{"r", "s", "n", ""}),
		WithInstanceType("big"), WithObjectStorage(ObjectStorage{[]string{"b"}, ObjectStorageRead, ""}),
	}
	overrides := func(session, own []Option) *sandboxv1.PartialSandboxSpec {
		return merged(t, session, own).request("id").(*sandboxv1.CreateSandboxFromTemplateRequest).GetOverrides()
	}
	assert.True(t, proto.Equal(new(sandboxv1.PartialSandboxSpec), overrides(weaker, []Option{template})))
	assert.True(t, proto.Equal(new(sandboxv1.PartialSandboxSpec), overrides([]Option{both}, []Option{template})))
	got := overrides(weaker, []Option{template, both, WithRuntimeClass("gvisor")})
	require.Len(t, got.GetContainers(), 2)
	assert.True(t, got.GetContainers()[1].GetPrimary())
	assert.Equal(t, "gvisor", got.GetRuntimeClass())
	got = overrides(nil, append(weaker, template, WithImage("i")))
	require.Len(t, got.GetContainers(), 1)
	assert.Equal(t, "s", got.GetContainers()[0].GetSecretStores()[0].GetStoreName())
	assert.Equal(t, []string{"b"}, got.GetObjectStorageAccess().GetBuckets())
	err := createError(append(weaker, template)...)
	for _, option := range []string{"WithSecrets", "WithSecurityContext", "WithPullCredentials", "WithStartupProbe"} {
		assert.ErrorContains(t, err, "overrides.containers: need an image: "+option+" is about")
	}
	assert.Len(t, fields(err), 4)

	_, err = newCreateConfig("create", environment{}, []Option{both}, append(weaker[:0:0], WithCompose(Compose{Contents: []byte("services: {}"), Primary: "a"})))
	assert.NoError(t, err, "skipped")
	err = createError(both, WithCompose(Compose{Contents: []byte("services: {}"), Primary: "a"}))
	assert.Equal(t, []string{"contents"}, fields(err))
}
