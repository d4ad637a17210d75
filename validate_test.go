package cwsandbox

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"
)

// createError is the error of a create with these options.
func createError(opts ...Option) error {
	_, err := newCreateConfig("create", environment{}, nil, opts)
	return err
}

// repeated returns n results of option.
func repeated(n int, option func(i int) Option) []Option {
	opts := make([]Option, n)
	for i := range opts {
		opts[i] = option(i)
	}
	return opts
}

func numbers(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("r-%d", i)
	}
	return ids
}

func TestNamesAndPaths(t *testing.T) {
	t.Run("K-088", func(t *testing.T) {
		for _, path := range []string{"x", "/x/", "", "/", "/a/../b", "//a", "/a/./b", "/a\x00", "/\xff"} {
			err := createError(WithFile("/good", nil), WithFile(path, nil))
			require.ErrorIs(t, err, ErrInvalidArgument, path)
			assert.ErrorContains(t, err, "spec.containers[0].files[1].path: ")
			assert.ErrorContains(t, err, "WithFile")
		}
		err := createError(WithFile("/x", nil), WithFile("/y", nil), WithFile("/x", nil))
		assert.ErrorContains(t, err, `spec.containers[0].files[0].path: must not repeat "/x"`)
	})
	t.Run("K-089", func(t *testing.T) {
		for _, tag := range []string{strings.Repeat("t", 60), "a-", "ä", "", "a b", "a.", "a\n", strings.Repeat("t", 1000)} {
			err := createError(WithTags("good", tag))
			require.ErrorIs(t, err, ErrInvalidArgument, tag)
			assert.ErrorContains(t, err, "spec.tags[1]: ")
			_, err = newListConfig([]ListOption{WithTags("good", tag)})
			require.ErrorIs(t, err, ErrInvalidArgument, tag)
			assert.ErrorContains(t, err, "tags[1]: ")
		}
		assert.NoError(t, createError(WithTags(strings.Repeat("t", 59), "-a", ".a", "a_b.c-1")))
	})
	t.Run("K-090", func(t *testing.T) {
		annotation := func(i int) Option { return WithAnnotation(fmt.Sprint(i), "v") }
		assert.NoError(t, createError(repeated(99, annotation)...))
		assert.ErrorContains(t, createError(repeated(100, annotation)...), "spec.annotations: must be at most 99 beside the owner mark, are 100")
		assert.ErrorContains(t, createError(repeated(101, annotation)...), "spec.annotations: must be at most 100, are 101")
		unmarked := func(n int) []Option { return append(repeated(n, annotation), WithoutOwnerMark()) }
		assert.NoError(t, createError(unmarked(100)...))
		assert.ErrorContains(t, createError(unmarked(101)...), "spec.annotations: must be at most 100, are 101")
		for _, opts := range [][]Option{{}, {WithoutOwnerMark()}} {
			opts = append(opts, WithAnnotation(ownerKey, "v"))
			assert.ErrorContains(t, createError(opts...), `must not have a key that begins with cwsandbox-go-, has "cwsandbox-go-owner"`)
		}
		assert.ErrorContains(t, createError(WithAnnotation("", "v")), "spec.annotations: must not be empty")
	})
	t.Run("K-095", func(t *testing.T) {
		assert.NoError(t, createError(WithRunners(numbers(100)...)))
		for _, row := range []struct {
			ids  []string
			want string
		}{
			{[]string{"a", ""}, "runner_ids[1]: must not be empty"},
			{[]string{" \t"}, "runner_ids[0]: must not be blank"},
			{[]string{"a", "b", "a"}, `runner_ids[2]: must not repeat "a"`},
			{numbers(101), "runner_ids: must be at most 100, are 101"},
			{[]string{strings.Repeat("r", 40<<10), strings.Repeat("s", 30<<10)}, "runner_ids: must have at most 65536 bytes in all"},
		} {
			err := createError(WithRunners(row.ids...))
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "spec."+row.want)
			_, err = newListConfig([]ListOption{WithRunners(row.ids...)})
			assert.ErrorContains(t, err, row.want)
		}
	})
	t.Run("K-096", func(t *testing.T) {
		for _, name := range []string{"", "A=B", "A\x00", "\xff"} {
			for _, err := range []error{
				createError(WithEnv(name, "v")),
				createError(WithoutEnv(name)),
				second(newExecConfig([]string{"ls"}, []ExecOption{WithEnv(name, "v")})),
			} {
				require.ErrorIs(t, err, ErrInvalidArgument, name)
				assert.ErrorContains(t, err, "the name must")
			}
		}
	})
}

func TestFaultsAreToldTogether(t *testing.T) {
	bad := []Option{WithImage(""), WithTags("a-"), WithEnv("A=B", "x")}
	t.Run("K-097", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, c := fakeClient(t)
			sb, err := c.Run(t.Context(), bad...)
			assert.Nil(t, sb)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, []Violation{
				{"spec.containers[0].image", "must not be empty (WithImage)"},
				{"spec.tags[0]", `must be of letters, digits, dots, underscores and dashes, and end in a letter or digit, is "a-" (WithTags)`},
				{"spec.containers[0].environment_variables", `the name must not contain = or NUL, is "A=B" (WithEnv)`},
			}, e.Violations)
			assert.Zero(t, f.count("CreateSandbox"))
		})
	})
	t.Run("K-098", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, c := fakeClient(t)
			_, err := c.Create(t.Context(), bad...)
			require.ErrorIs(t, err, ErrInvalidArgument)
			_, isStatus := status.FromError(err)
			assert.False(t, isStatus)
			assert.Zero(t, c.registry.count(c))
			assert.Zero(t, f.count("CreateSandbox"))
		})
	})
}

// Each row is one bad option or argument, and what the error must name: the field and the rule.
func TestBadInput(t *testing.T) {
	const nul, broken = "a\x00", "a\xff"
	create := func(o Option) error { return createError(o) }
	client := func(o ClientOption) error { return second(withKey(nil, o)) }
	list := func(o ListOption) error { return second(newListConfig([]ListOption{o})) }
	exec := func(o ...ExecOption) error { return second(newExecConfig([]string{"ls"}, o)) }
	argv := func(argv ...string) error { return second(newExecConfig(argv, nil)) }
	file := func(path string, o ...FileOption) error {
		return second(newFileConfig(call{op: "file", path: path}, o, ^fileUse(0)))
	}

	for _, row := range []struct {
		name  string
		err   error
		field string
		rule  string
	}{
		{"image", create(WithImage("")), "spec.containers[0].image", "must not be empty"},
		{"blank image", create(WithImage(" ")), "spec.containers[0].image", `must not be blank, is " "`},
		{"image NUL", create(WithImage(nul)), "spec.containers[0].image", "NUL"},
		{"image UTF-8", create(WithImage(broken)), "spec.containers[0].image", "UTF-8"},
		{"command", create(WithCommand(" ")), "spec.containers[0].command", "blank"},
		{"argument", create(WithCommand("a", broken)), "spec.containers[0].args[0]", "UTF-8"},
		{"env value", create(WithEnv("A", nul)), `spec.containers[0].environment_variables["A"]`, "NUL"},
		{"env value of a command", exec(WithEnv("A", broken)), `env["A"]`, "UTF-8"},
		{"directory", create(WithDir("")), "spec.containers[0].working_dir", `absolute path, is ""`},
		{"relative directory", create(WithDir("a")), "spec.containers[0].working_dir", `absolute path, is "a"`},
		{"directory NUL", create(WithDir("/" + nul)), "spec.containers[0].working_dir", "NUL"},
		{"directory of a command", exec(WithDir("a/b")), "dir", `absolute path, is "a/b"`},
		{"display name", create(WithDisplayName(broken)), "display_name", "UTF-8"},
		{"annotation key", create(WithAnnotation(" ", "v")), "spec.annotations", "blank"},
		{"annotation value", create(WithAnnotation("k", broken)), `spec.annotations["k"]`, "UTF-8"},
		{"lifetime", create(WithMaxLifetime(-time.Second)), "spec.max_lifetime_seconds", "must not be negative, is -1s"},
		{"long lifetime", create(WithMaxLifetime(1 << 62)), "spec.max_lifetime_seconds", "at most 2147483647 seconds"},
		{"grace", create(WithGrace(-1)), "grace_period_seconds", "negative"},
		{"grace of a stop", second(newStopConfig("sb-1", []StopOption{WithGrace(-1)})), "grace_period_seconds", "negative"},
		{"grace of a delete", second(newDeleteConfig("sb-1", []DeleteOption{WithGrace(1 << 62)})), "grace_period_seconds", "at most"},
		{"grace of an attach", second(newAttachConfig("sb-1", []AttachOption{WithGrace(-1)})), "grace_period_seconds", "negative"},
		{"K-040", client(WithRequestTimeout(0)), "request timeout", "above zero, is 0s"},
		{"K-040", client(WithRequestTimeout(-time.Second)), "request timeout", "above zero, is -1s"},
		{"request timeout of a create", create(WithRequestTimeout(0)), "request timeout", "above zero"},
		{"request timeout of an attach", second(newAttachConfig("sb-1", []AttachOption{WithRequestTimeout(-1)})), "request timeout", "above zero"},
		{"retry budget", client(WithRetryBudget(-time.Second)), "retry budget", "must not be negative, is -1s"},
		{"integration", client(WithIntegration("a\nb")), "integration", "printable ASCII"},
		{"id to attach", second(newAttachConfig("", nil)), "sandbox_id", "must not be empty"},
		{"id to delete", second(newDeleteConfig(" ", nil)), "sandbox_id", "blank"},
		{"state", list(WithState(-1)), "state", "must not be negative, is -1"},
		{"page size", list(WithPageSize(-1)), "page_size", "must not be negative"},
		{"large page size", list(WithPageSize(1 << 31)), "page_size", "above 2147483647"},
		{"volume id", list(WithVolumeIDs("a", "")), "volume_ids[1]", "must not be empty"},
		{"repeated volume id", list(WithVolumeIDs("a", "a")), "volume_ids[1]", `must not repeat "a"`},
		{"age", list(WithOlderThan(-time.Second)), "older than", "must not be negative, is -1s"},
		{"no command", argv(), "command", "must not be empty"},
		{"empty program", argv("", "x"), "command[0]", "must not be empty"},
		{"blank program", argv(" "), "command[0]", "blank"},
		{"argument of a command", argv("ls", nul), "command", "NUL"},
		{"timeout", exec(WithTimeout(0)), "timeout", "above zero, is 0s"},
		{"negative timeout", exec(WithTimeout(-1)), "timeout", "above zero"},
		{"output limit", exec(WithOutputLimit(-1)), "output limit", "must not be negative, is -1"},
		{"two inputs", exec(WithStdin(strings.NewReader("")), WithStdinPipe()), "stdin", "not both"},
		{"container of a command", exec(WithContainer(nul)), "container", "NUL"},
		{"container of a file", file("/f", WithContainer(broken)), "container", "UTF-8"},
		{"file", file(""), "path", "must not be empty"},
		{"file NUL", file(nul), "path", "NUL"},
	} {
		t.Run(row.name, func(t *testing.T) {
			require.ErrorIs(t, row.err, ErrInvalidArgument)
			var e *Error
			require.ErrorAs(t, row.err, &e)
			assert.NotEmpty(t, e.Op)
			require.Len(t, e.Violations, 1)
			assert.Equal(t, row.field, e.Violations[0].Field)
			assert.Contains(t, e.Violations[0].Description, row.rule)
			assert.ErrorContains(t, row.err, row.field+": ")
			assert.NotContains(t, row.err.Error(), "\x00")
		})
	}
}

func TestSecretsAreNotShownInFaults(t *testing.T) {
	for _, err := range []error{
		createError(WithEnv("A", secret+"\x00")),
		createError(WithFile("relative", []byte(secret))),
		second(newExecConfig([]string{"ls"}, []ExecOption{WithEnv("A", secret+"\x00")})),
	} {
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.NotContains(t, err.Error(), secret)
	}
}

func FuzzErrorsDoNotShowTheKey(f *testing.F) {
	f.Add("key\x00", "https://h")
	f.Add("k", "ftp://h")
	f.Add("\x7f", "https://u:p@h")
	f.Fuzz(func(t *testing.T, key, url string) {
		key = "Sesame" + key
		_, err := newClientConfig(variables{"CWSANDBOX_API_KEY": key, "CWSANDBOX_BASE_URL": url}.get, nil)
		if err != nil && !strings.Contains(url, "Sesame") {
			require.NotContains(t, err.Error(), "Sesame")
		}
	})
}
