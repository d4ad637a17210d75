package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

func TestNothingOutlivesAKilledServer(t *testing.T) {
	for _, l := range levels {
		t.Run(l.name+"/C-196", func(t *testing.T) {
			newRuntime(t, Options{Isolation: l.name}) // skips where it is impossible
			data := t.TempDir()
			server := startServer(t, l.name, data)
			want := 6 // supervisor, init and, of the main process and the exec, both and a child each
			if l.name == Plain {
				want = 2
			}
			var before []int
			require.Eventually(t, func() bool {
				before = descendants(t, server.Process.Pid)
				return len(before) == want
			}, patience, 10*time.Millisecond, "%d processes", want)

			begin := time.Now()
			require.NoError(t, server.Process.Kill())
			_ = server.Wait()
			for len(alive(before)) > 0 {
				require.Less(t, time.Since(begin), patience, "%v", alive(before))
				time.Sleep(time.Millisecond)
			}
			assert.Less(t, time.Since(begin), time.Second)

			left, err := filepath.Glob(filepath.Join(data, serverPrefix+"*"))
			require.NoError(t, err)
			require.NotEmpty(t, left, "a killed server cannot clean up")
			require.NoError(t, newRuntime(t, Options{Isolation: l.name, DataDir: data}).Close())
			left, err = filepath.Glob(filepath.Join(data, serverPrefix+"*"))
			require.NoError(t, err)
			assert.Empty(t, left)
		})
	}
}

func TestReturnToTheStart(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		t.Run("C-204", func(t *testing.T) {
			use := func(i int) error {
				sb, err := r.NewSandbox(t.Context(), container.SandboxSpec{ID: fmt.Sprint("sb-", i)})
				if err != nil {
					return err
				}
				c, err := sb.Start(t.Context(), container.Spec{})
				if err != nil {
					return err
				}
				if err := c.WriteFile(t.Context(), "name", fmt.Append(nil, i), false); err != nil {
					return err
				}
				p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"cat", "name"}})
				if err != nil {
					return err
				}
				if err := expectOutput(p, fmt.Sprint(i)); err != nil {
					return err
				}
				if _, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sleep", "1000"}, Stdin: true}); err != nil {
					return err
				}
				return sb.Close()
			}
			require.NoError(t, use(0)) // what is opened once and kept counts as the start
			files, mounts := openFiles(t), mountCount(t)
			children := descendants(t, os.Getpid())
			parallel(t, 100, use)
			assert.Eventually(t, func() bool { return openFiles(t) <= files }, patience, 10*time.Millisecond,
				"descriptors: %d at the start", files)
			assert.Equal(t, mounts, mountCount(t))
			assert.Len(t, descendants(t, os.Getpid()), len(children))
			assert.Empty(t, r.sandboxes)
			entries, err := os.ReadDir(r.data.path)
			require.NoError(t, err)
			assert.Empty(t, entries)
		})
	})
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

func mountCount(t *testing.T) int {
	content, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	return strings.Count(string(content), "\n")
}

// descendants returns the processes that pid has started, directly or not.
func descendants(t *testing.T, pid int) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	children := make(map[int][]int)
	for _, entry := range entries {
		child, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if parent, ok := parentOf(child); ok {
			children[parent] = append(children[parent], child)
		}
	}
	var found []int
	for queue := children[pid]; len(queue) > 0; queue = queue[1:] {
		found = append(found, queue[0])
		queue = append(queue, children[queue[0]]...)
	}
	return found
}

func parentOf(pid int) (parent int, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	parent, err = strconv.Atoi(fields[1])
	return parent, err == nil && fields[0] != "Z"
}

func alive(pids []int) []int {
	var left []int
	for _, pid := range pids {
		if syscall.Kill(pid, 0) == nil {
			if _, running := parentOf(pid); running {
				left = append(left, pid)
			}
		}
	}
	return left
}

// startServer starts this binary as a server with a sandbox in it and waits until that runs.
func startServer(t *testing.T, level, dataDir string) *exec.Cmd {
	t.Helper()
	server := exec.Command(selfExecutable)
	server.Env = append(os.Environ(), serveVariable+"="+level+":"+dataDir)
	out, err := server.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, server.Start())
	t.Cleanup(func() { _ = server.Process.Kill() })
	readUntil(t, out, "ready\n")
	return server
}

func TestUnprivilegedUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this user is an ordinary one already, so that the other tests have shown it")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "process-unprivileged-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chown(dir, nobody, nobody))

	cmd := exec.Command(selfExecutable, "-test.v", "-test.run="+unprivilegedTests)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + defaultPath, "HOME=" + dir, "TMPDIR=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	t.Logf("as an ordinary user:\n%s", out)
	require.NoError(t, err)
	assert.Contains(t, string(out), "--- PASS: TestExec/plain")
	t.Run("C-202", func(t *testing.T) {
		if strings.Contains(string(out), "--- SKIP: TestIsolation/rootless") {
			t.Skip("the kernel gives ordinary users no user namespaces")
		}
		for _, number := range []string{"C-189", "C-190", "C-191", "C-192"} {
			assert.Contains(t, string(out), "--- PASS: TestIsolation/rootless/"+number)
		}
	})
}

// unprivilegedTests are those that differ for an ordinary user.
const unprivilegedTests = "^(TestExec|TestKill|TestTerminal|TestMainProcess|TestFiles.*|TestPlain.*|TestIsolation|" +
	"TestNothingOutlivesAKilledServer|TestLevels)$"
