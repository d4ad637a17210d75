package cwsandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// merged is the configuration of a create of a session.
func merged(t *testing.T, session, own []Option) *createConfig {
	t.Helper()
	c, err := newCreateConfig("create", environment{}, session, own)
	require.NoError(t, err)
	return c
}

// sent is the spec that a create of a session sends, with its only container.
func sent(t *testing.T, session, own []Option) (*sandboxv1.SandboxSpec, *sandboxv1.Container) {
	t.Helper()
	spec := merged(t, session, own).spec()
	require.Len(t, spec.GetContainers(), 1)
	return spec, spec.GetContainers()[0]
}

func TestMerging(t *testing.T) {
	t.Run("K-050", func(t *testing.T) {
		session := []Option{Defaults(WithTags("a", "b")), WithTags("c")}
		spec, _ := sent(t, session, []Option{WithTags("a", "d"), WithTags("d", "d")})
		assert.Equal(t, []string{"a", "b", "c", "d"}, spec.GetTags())
	})
	t.Run("K-051", func(t *testing.T) {
		_, c := sent(t, []Option{Defaults(WithEnv("A", "1"), WithEnv("B", "2"))}, []Option{WithEnv("B", "3")})
		assert.Equal(t, map[string]string{"A": "1", "B": "3"}, c.GetEnvironmentVariables())
	})
	t.Run("K-052", func(t *testing.T) {
		_, c := sent(t, []Option{WithEnv("A", "1")}, []Option{WithoutEnv("A"), WithoutEnv("NEVER_SET")})
		assert.Empty(t, c.GetEnvironmentVariables())
	})
	t.Run("K-053", func(t *testing.T) {
		spec, _ := sent(t, []Option{WithAnnotation("a", "1"), WithAnnotation("b", "2")}, []Option{WithAnnotation("b", "")})
		assert.Equal(t, map[string]string{"a": "1", "b": ""}, spec.GetAnnotations())
	})
	t.Run("K-057", func(t *testing.T) {
		gpu := WithResources(Resources{Requests: ResourceList{CPU: "1"}, GPU: &GPU{Count: 1}})
		_, c := sent(t, []Option{gpu}, []Option{WithResources(Resources{Requests: ResourceList{Memory: "1Gi"}})})
		assert.Nil(t, c.GetResourceRequirements().GetRequests().GetGpu())
		assert.Empty(t, c.GetResourceRequirements().GetRequests().GetCpu())
		assert.Equal(t, "1Gi", c.GetResourceRequirements().GetRequests().GetMemory())
		_, c = sent(t, []Option{gpu}, []Option{WithResources(Resources{})})
		assert.Nil(t, c.GetResourceRequirements(), "cleared")
	})
	runners := []Option{WithRunners("r-1", "r-2")}
	t.Run("K-058", func(t *testing.T) {
		spec, _ := sent(t, runners, []Option{WithRunners()})
		assert.Empty(t, spec.GetRunnerIds())
		assert.Equal(t, sandboxv1.SandboxMode_SANDBOX_MODE_UNSPECIFIED, spec.GetMode())
	})
	t.Run("K-059", func(t *testing.T) {
		spec, _ := sent(t, runners, nil)
		assert.Equal(t, []string{"r-1", "r-2"}, spec.GetRunnerIds())
		assert.Equal(t, sandboxv1.SandboxMode_SANDBOX_MODE_CKS, spec.GetMode())
	})
	t.Run("K-064", func(t *testing.T) {
		bundle := Defaults(WithFile("/a", []byte("old")), WithFile("/b", []byte("kept")))
		for name, lists := range map[string][2][]Option{
			"bundle under a call":   {{bundle}, {WithFile("/a", []byte("new"))}},
			"bundle before a call":  {nil, {bundle, WithFile("/a", []byte("new"))}},
			"bundle over a bundle":  {nil, {Defaults(bundle, WithFile("/a", []byte("new")))}},
			"session under a call":  {{WithFile("/a", []byte("old")), WithFile("/b", []byte("kept"))}, {WithFile("/a", []byte("new"))}},
			"bundles in one list":   {{bundle, Defaults(WithFile("/a", []byte("new")))}, nil},
			"the same bundle twice": {{bundle, bundle}, {WithFile("/a", []byte("new"))}},
		} {
			_, c := sent(t, lists[0], lists[1])
			require.Len(t, c.GetFiles(), 2, name)
			assert.Equal(t, "new", string(c.GetFiles()[0].GetContent()), name)
			assert.Equal(t, "/b", c.GetFiles()[1].GetPath(), name)
		}
	})
	t.Run("K-065", func(t *testing.T) {
		tags, args, ids, data := []string{"a"}, []string{"x"}, []string{"r"}, []byte("data")
		gpu := &GPU{Count: 1}
		opts := []Option{
			WithTags(tags...), WithCommand("echo", args...), WithRunners(ids...), WithFile("/f", data),
			WithResources(Resources{GPU: gpu}),
		}
		bundle := Defaults(opts...)
		tags[0], args[0], ids[0], data[0], gpu.Count, opts[0] = "z", "z", "z", 'z', 9, WithTags("other")
		spec, c := sent(t, []Option{bundle}, nil)
		assert.Equal(t, []string{"a"}, spec.GetTags())
		assert.Equal(t, []string{"x"}, c.GetArgs())
		assert.Equal(t, []string{"r"}, spec.GetRunnerIds())
		assert.Equal(t, "data", string(c.GetFiles()[0].GetContent()))
		assert.Equal(t, int64(1), c.GetResourceRequirements().GetRequests().GetGpu().GetCount())
	})
	t.Run("K-066", func(t *testing.T) {
		bundle := Defaults(WithTags("a"), WithEnv("A", "1"), WithFile("/f", []byte("x")), WithRunners("r"), WithAnnotation("k", "v"))
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				tag := fmt.Sprintf("t%d", i)
				c, err := newCreateConfig("create", environment{}, []Option{bundle}, []Option{WithTags(tag), WithEnv("A", tag)})
				if assert.NoError(t, err) {
					assert.Equal(t, []string{"a", tag}, c.spec().GetTags())
				}
			})
		}
		all.Wait()
	})
	t.Run("K-067", func(t *testing.T) {
		bundle := Defaults(WithTags("a"), WithImage(""))
		for range 2 {
			_, err := newCreateConfig("create", environment{}, []Option{bundle}, []Option{WithImage("overridden")})
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "WithImage")
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Len(t, e.Violations, 1)
		}
	})
	t.Run("K-068", func(t *testing.T) {
		_, c := sent(t, nil, []Option{WithImage("a"), Defaults(WithImage("b")), WithImage("c"), WithDir("/x"), WithDir("/y")})
		assert.Equal(t, "c", c.GetImage())
		assert.Equal(t, "/y", c.GetWorkingDir())
		_, c = sent(t, nil, []Option{WithImage("a"), Defaults(WithImage("b"))})
		assert.Equal(t, "b", c.GetImage(), "a bundle counts where it stands")
	})
	t.Run("K-069", func(t *testing.T) {
		create := reflect.TypeFor[Option]()
		for name, fn := range map[string]any{
			"WithAPIKey": WithAPIKey, "WithBaseURL": WithBaseURL, "WithControlPlaneURL": WithControlPlaneURL,
			"WithCredentials": WithCredentials, "WithRetryBudget": WithRetryBudget,
		} {
			assert.False(t, reflect.TypeOf(fn).Out(0).Implements(create), "%s would compile among create options", name)
		}
		assert.True(t, reflect.TypeOf(WithImage).Out(0).Implements(create), "the check can tell")
	})
	t.Run("nil options are skipped", func(t *testing.T) {
		_, c := sent(t, []Option{nil, Defaults(nil, WithImage("a"))}, []Option{nil})
		assert.Equal(t, "a", c.GetImage())
	})
}

func TestLayers(t *testing.T) {
	lifetime := time.Minute
	c, err := newCreateConfig("create", environment{maxLifetime: &lifetime},
		[]Option{Defaults(WithImage("a")), WithEnv("S", ""), WithFile("/f", nil)},
		[]Option{WithTags("t"), Defaults(WithAnnotation("k", "v")), WithDisplayName("n")})
	require.NoError(t, err)
	assert.Equal(t, layerBuiltIn, c.command.from)
	assert.Equal(t, layerEnvironment, c.maxLifetime.from)
	assert.Equal(t, layerBundle, c.image.from)
	assert.Equal(t, layerSession, c.env["S"].from)
	assert.Equal(t, layerSession, c.files.from)
	assert.Equal(t, layerCall, c.tags.from)
	assert.Equal(t, layerBundle, c.annotations["k"].from)
	assert.Equal(t, layerCall, c.displayName.from)
}

func TestDefaultsPrint(t *testing.T) {
	bundle := func(image string) Option {
		return Defaults(
			WithImage(image), nil, WithTags("a", "b"), WithMaxLifetime(time.Minute), WithEnv("TOKEN", "x"), WithoutEnv("P"),
			WithFile("/f", []byte("abc")), Defaults(WithImageCommand(), WithGrace(time.Second)), WithCommand("a", "b c"),
			WithResources(Resources{Requests: ResourceList{CPU: "1"}, GPU: &GPU{Count: 2}}), WithRunners(), WithDir("/d"),
			WithRequestTimeout(time.Second), WithDisplayName("n"), WithAnnotation("k", "v"),
		)
	}
	assert.Equal(t, `Defaults(WithImage("i"), WithTags("a", "b"), WithMaxLifetime(1m0s), WithEnv("TOKEN"), WithoutEnv("P"), `+
		`WithFile("/f", 3 bytes), Defaults(WithImageCommand(), WithGrace(1s)), WithCommand("a", "b c"), `+
		`WithResources(requests {CPU:1 Memory:}, limits {CPU: Memory:}, gpu {Count:2 Type: MemoryGB:0}), WithRunners(), WithDir("/d"), `+
		`WithRequestTimeout(1s), WithDisplayName("n"), WithAnnotation("k", "v"))`, fmt.Sprint(bundle("i")))
	assert.Equal(t, fmt.Sprint(bundle("i")), fmt.Sprint(bundle("i")))
	assert.NotEqual(t, fmt.Sprint(bundle("i")), fmt.Sprint(bundle("j")))
}

func TestListRequest(t *testing.T) {
	config, err := newListConfig([]ListOption{
		nil, WithTags("a"), WithTags("b", "a"), WithRunners("r"), WithVolumeIDs("v"), WithPageSize(7), WithState(StateRunning),
		WithOlderThan(time.Hour),
	})
	require.NoError(t, err)
	req := config.request()
	assert.Equal(t, []string{"a", "b"}, req.GetTags())
	assert.Equal(t, []string{"r"}, req.GetRunnerIds())
	assert.Equal(t, []string{"v"}, req.GetVolumeIds())
	assert.Equal(t, int32(7), req.GetPageSize())
	assert.Equal(t, sandboxv1.State_STATE_RUNNING, req.GetState())
	assert.False(t, req.GetShowTerminated())
	assert.Equal(t, time.Hour, config.olderThan)

	for state, want := range map[State]bool{StateCompleted: true, StateFailed: true, StateTerminated: true, StateTerminating: false} {
		config, err := newListConfig([]ListOption{WithState(state)})
		require.NoError(t, err)
		assert.Equal(t, want, config.request().GetShowTerminated(), state)
	}
	config, err = newListConfig([]ListOption{WithTerminated(), WithRunners("r"), WithRunners(), WithVolumeIDs("v"), WithVolumeIDs()})
	require.NoError(t, err)
	assert.True(t, config.request().GetShowTerminated())
	assert.Empty(t, config.request().GetRunnerIds())
	assert.Empty(t, config.request().GetVolumeIds())
}

func TestGraceAndTimeoutsOfCalls(t *testing.T) {
	create := merged(t, []Option{WithGrace(time.Minute)}, []Option{WithRequestTimeout(2 * time.Second)})
	assert.Equal(t, time.Minute, create.grace)
	assert.Equal(t, 2*time.Second, create.requestTimeout)
	assert.Equal(t, defaultGrace, merged(t, nil, nil).grace)
	assert.Zero(t, merged(t, nil, nil).requestTimeout, "the client's")

	stop, err := newStopConfig("sb-1", nil)
	require.NoError(t, err)
	assert.Nil(t, stop.grace)
	stop, err = newStopConfig("sb-1", []StopOption{nil, WithGrace(0)})
	require.NoError(t, err)
	assert.Zero(t, *stop.grace)

	attach, err := newAttachConfig("sb-1", []AttachOption{WithGrace(time.Second), WithRequestTimeout(time.Hour)})
	require.NoError(t, err)
	assert.Equal(t, time.Second, *attach.grace)
	assert.Equal(t, time.Hour, attach.requestTimeout)

	del, err := newDeleteConfig("sb-1", []DeleteOption{MissingOK(), WithGrace(time.Second)})
	require.NoError(t, err)
	assert.True(t, del.missingOK)
	assert.Equal(t, time.Second, del.grace)
}

func TestExecOptions(t *testing.T) {
	argv := []string{"ls", "-l"}
	config, err := newExecConfig(argv, []ExecOption{nil, WithEnv("A", "1"), WithEnv("A", "2"), WithContainer("side"), WithTimeout(time.Second)})
	require.NoError(t, err)
	argv[0] = "changed"
	assert.Equal(t, []string{"ls", "-l"}, config.command())
	assert.Equal(t, map[string]string{"A": "2"}, config.env)
	assert.Equal(t, "side", config.container)
	assert.Equal(t, time.Second, config.timeout)
	assert.Equal(t, int64(16<<20), config.outputLimit)

	t.Run("a directory needs no quoting", func(t *testing.T) {
		dir := `/a b/'"$(x)`
		config, err := newExecConfig([]string{"echo", "$HOME", "'"}, []ExecOption{WithDir(dir)})
		require.NoError(t, err)
		assert.Equal(t, []string{"echo", "$HOME", "'"}, config.argv, "of the result")
		command := config.command()
		assert.Equal(t, []string{"/bin/sh", "-c"}, command[:2])
		assert.NotContains(t, command[2], "echo")
		assert.Equal(t, []string{dir, "echo", "$HOME", "'"}, command[3:])
	})
	t.Run("a real shell understands it", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("there is no /bin/sh on Windows")
		}
		dir := filepath.Join(t.TempDir(), `-a b'"$(x)`)
		require.NoError(t, os.Mkdir(dir, 0o700))
		inside := func(dir string) ([]byte, error) {
			config, err := newExecConfig([]string{"/bin/sh", "-c", `pwd; printf '%s|' "$@"; exit 3`, "sh", "$HOME", "a b", ""}, []ExecOption{WithDir(dir)})
			require.NoError(t, err)
			command := config.command()
			return exec.Command(command[0], command[1:]...).Output()
		}
		out, err := inside(dir)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 3, exit.ExitCode(), "the command's own")
		assert.Equal(t, dir+"\n$HOME|a b||", string(out))

		out, err = inside(dir + "/missing")
		require.ErrorAs(t, err, &exit)
		assert.NotEqual(t, 3, exit.ExitCode())
		assert.Empty(t, out, "the command did not run")
	})
}

func TestFileOptions(t *testing.T) {
	config, err := newFileConfig(call{path: "relative/is for the service to judge"}, []FileOption{nil, WithContainer("side"), WithParents()}, useParents)
	require.NoError(t, err)
	assert.Equal(t, "side", config.container)
	assert.True(t, config.parents)
}

func TestRefusalsNameTheOption(t *testing.T) {
	bubble(t, "of snapshots, volumes, stops and functions", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		snapshots := func(opt SnapshotListOption) error { return errorOf(Collect(c.Snapshots(t.Context(), opt))) }
		for option, err := range map[string]error{
			"WithSourceSandbox":     snapshots(WithSourceSandbox("")),
			"WithSnapshotStates":    snapshots(WithSnapshotStates(SnapshotStateUnspecified)),
			"WithVolumeStates":      errorOf(Collect(c.RegisteredVolumes(t.Context(), WithVolumeStates(-1)))),
			"WithSnapshotVolume":    errorOf(sb.Snapshot(t.Context(), WithSnapshotVolume(" "))),
			"WithSnapshotRequestID": errorOf(sb.Snapshot(t.Context(), WithSnapshotRequestID(""))),
			"WithStopSnapshot":      errorOf(sb.Stop(WithStopSnapshot("a", "a")).Wait()),
			"WithWorkers":           errorOf(twice.Call(t.Context(), sb, 1, WithWorkers(-1))),
			"WithTempDir":           errorOf(twice.Call(t.Context(), sb, 1, WithTempDir("tmp"))),
			"WithExecutable":        errorOf(twice.Call(t.Context(), sb, 1, WithExecutable(""))),
		} {
			require.ErrorIs(t, err, ErrInvalidArgument, option)
			assert.ErrorContains(t, err, "("+option+")")
		}
	})
	for want, option := range map[string]any{
		`WithSnapshotVolume("a")`:    WithSnapshotVolume("a"),
		"WithWorkers(2)":             WithWorkers(2),
		`WithStopSnapshot("a", "b")`: WithStopSnapshot("a", "b"),
		"WithFuncOutput(…)":          WithFuncOutput(os.Stdout),
		"WithVolumeStates([ready])":  WithVolumeStates(VolumeStateReady),
	} {
		assert.Equal(t, want, fmt.Sprint(option))
	}
}
