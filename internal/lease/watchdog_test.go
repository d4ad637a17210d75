//go:build linux

package lease

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// patience bounds what should take a moment.
	patience = 2 * time.Minute

	// long is a lease that no test sees the end of, with the longest ticks: a wait for the end of one is noticed.
	long = 25 * time.Minute
)

// shell is the path of a link called sh, because shells look at their own name.
type shell string

// underEachShell runs a test with each shell that the machine has in the place of /bin/sh.
func underEachShell(t *testing.T, test func(t *testing.T, sh shell)) {
	t.Parallel()
	for _, name := range []string{"dash", "bash", "busybox"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, err := exec.LookPath(name)
			if err != nil {
				t.Skipf("this machine has no %s: %v", name, err)
			}
			link := filepath.Join(t.TempDir(), "sh")
			require.NoError(t, os.Symlink(path, link))
			test(t, shell(link))
		})
	}
}

func (sh shell) isBash(t *testing.T) bool {
	path, err := filepath.EvalSymlinks(string(sh))
	assert.NoError(t, err)
	return filepath.Base(path) == "bash"
}

// newLease returns a lease whose files are removed when the test ends.
func newLease(t *testing.T, length time.Duration) Lease {
	l := Lease{ID: "test-" + rand.Text(), Length: length}
	t.Cleanup(func() {
		for _, beat := range l.Beats() {
			for _, suffix := range []string{"", ".run", ".off"} {
				os.Remove(beat + suffix)
			}
		}
	})
	return l
}

// wrap is the wrapped command, to be run in a session of its own, as the main process of a sandbox is.
func (sh shell) wrap(l Lease, argv ...string) *exec.Cmd {
	_, args := l.Wrap(argv[0], argv[1:])
	args[1] = strings.ReplaceAll(args[1], "/bin/sh", string(sh))
	return leader(append([]string{string(sh)}, args...)...)
}

// ticking changes the ticks that a wrapped command counts.
func ticking(cmd *exec.Cmd, tick time.Duration, ticks int) *exec.Cmd {
	cmd.Args[5], cmd.Args[6] = seconds(tick), strconv.Itoa(ticks)
	return cmd
}

func leader(argv ...string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// code is how the service reports the end of a main process.
func code(cmd *exec.Cmd) int {
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// running is a command that was started, with pipes. All of its processes have descriptor 3 open.
type running struct {
	*exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader
	stderr  *bytes.Buffer
	witness *os.File
	killer  *time.Timer
}

func start(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	r := &running{Cmd: cmd, stderr: new(bytes.Buffer)}
	witness, held, err := os.Pipe()
	require.NoError(t, err)
	r.witness = witness
	cmd.ExtraFiles = []*os.File{held}
	r.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	r.stdout, cmd.Stderr = bufio.NewReader(stdout), r.stderr
	require.NoError(t, cmd.Start())
	held.Close()
	r.killer = time.AfterFunc(patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
	t.Cleanup(func() {
		r.killer.Stop()
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // only what a failed test has left
		witness.Close()
	})
	return r
}

// end waits for the end and returns the code and what was printed meanwhile. Nothing of the command may be left.
func (r *running) end(t *testing.T) (exit int, printed string) {
	t.Helper()
	out, err := io.ReadAll(r.stdout)
	require.NoError(t, err)
	_ = r.Wait()
	require.NoError(t, r.witness.SetReadDeadline(time.Now().Add(patience)))
	_, err = r.witness.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "processes are left")
	return code(r.Cmd), string(out)
}

// line reads a line of the output.
func (r *running) line(t *testing.T) string {
	t.Helper()
	line, err := r.stdout.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\n")
}

// waits returns when the watchdog waits. Bash may lose a signal that comes while it runs the trap of another one.
func (r *running) waits(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.Process.Pid))
		return err == nil && bytes.Contains(stat, []byte(") S "))
	}, patience, time.Millisecond)
}

func self(t *testing.T) string {
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

// TestExitCodes has ticks that never end, so that a report which waits for one is noticed; but for bash, whose wait may
// miss it.
func TestExitCodes(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		codes := make(chan int)
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() {
				for want := range codes {
					cmd := sh.wrap(newLease(t, long), "/bin/sh", "-c", "exit $0", fmt.Sprint(want))
					if !sh.isBash(t) {
						ticking(cmd, 24*time.Hour, 1)
					}
					if !assert.NoError(t, cmd.Start()) {
						continue
					}
					killer := time.AfterFunc(patience, func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })
					_ = cmd.Wait()
					assert.True(t, killer.Stop(), "the end has waited for a tick")
					assert.Equal(t, want, code(cmd))
				}
			})
		}
		for want := range 256 {
			codes <- want
		}
		close(codes)
		workers.Wait()
	})
}

func TestCommandThatCannotRun(t *testing.T) {
	sleep, err := exec.LookPath("sleep")
	require.NoError(t, err)
	underEachShell(t, func(t *testing.T, sh shell) {
		for name, want := range map[string]int{"cwsandbox-no-such-command": 127, "/dev/null": 126} {
			cmd := sh.wrap(newLease(t, long), name)
			// Shells other than bash say 126 for a name that may be in a folder where this user must not look.
			cmd.Env = []string{"PATH=" + filepath.Dir(sleep)}
			r := start(t, cmd)
			exit, _ := r.end(t)
			assert.Equal(t, want, exit, name)
			assert.Contains(t, r.stderr.String(), name)
		}
	})
}

// forwarded are the signals that the watchdog passes on. Those that a fault of the process itself raises, and those that
// cannot be caught, are not among them.
var forwarded = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGPIPE,
	syscall.SIGALRM, syscall.SIGTERM, syscall.SIGCONT, syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGURG,
	syscall.SIGXCPU, syscall.SIGXFSZ, syscall.SIGVTALRM, syscall.SIGPROF, syscall.SIGWINCH, syscall.SIGIO, syscall.SIGPWR,
}

func TestSignalsThatAreHandled(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		r := start(t, sh.wrap(newLease(t, long), self(t), "signals"))
		r.line(t)
		for _, s := range forwarded {
			if s == syscall.SIGPROF { // the Go runtime keeps it for itself
				continue
			}
			r.waits(t)
			require.NoError(t, r.Process.Signal(s))
			want := fmt.Sprint("signal ", int(s))
			for r.line(t) != want { // the Go runtime sends itself SIGURG
			}
			r.killer.Reset(patience) // bash may take a tick for each
		}
		r.stdin.Close()
		exit, _ := r.end(t)
		assert.Zero(t, exit)
	})
}

// TestSignalsThatAreNotHandled compares with the same command without us.
func TestSignalsThatAreNotHandled(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		for _, s := range forwarded {
			argv := []string{"/bin/sh", "-c", "echo ready; exec cat"}
			plain, wrapped := start(t, leader(argv...)), start(t, sh.wrap(newLease(t, long), argv...))
			for _, r := range []*running{plain, wrapped} {
				r.line(t)
				require.NoError(t, r.Process.Signal(s))
			}
			if survives[s] {
				plain.stdin.Close()
				wrapped.stdin.Close()
			}
			want, _ := plain.end(t)
			got, _ := wrapped.end(t)
			assert.Equal(t, want, got, s)
			assert.Equal(t, survives[s], want == 0, s)
			assert.Equal(t, plain.stderr.String(), wrapped.stderr.String(), s)
		}
	})
}

// survives are the signals that do nothing to a process which has not asked for them. It would be stopped by three of
// them if there were a terminal.
var survives = map[syscall.Signal]bool{
	syscall.SIGCONT: true, syscall.SIGTSTP: true, syscall.SIGTTIN: true, syscall.SIGTTOU: true, syscall.SIGURG: true,
	syscall.SIGWINCH: true,
}

func TestSignalsOfTheWholeGroup(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		r := start(t, sh.wrap(newLease(t, long), "/bin/sh", "-c", `trap "exit 7" INT; echo ready; read -r line; exit 8`))
		r.line(t)
		require.NoError(t, syscall.Kill(-r.Process.Pid, syscall.SIGINT))
		exit, _ := r.end(t)
		assert.Equal(t, 7, exit)
	})
}

func TestSignalThatIsIgnored(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		wrapped := sh.wrap(newLease(t, long), "/bin/sh", "-c", "echo ready; read -r line; exit 5")
		r := start(t, leader(append([]string{"/bin/sh", "-c", `trap "" HUP; exec "$0" "$@"`}, wrapped.Args...)...))
		r.line(t)
		require.NoError(t, r.Process.Signal(syscall.SIGHUP))
		r.stdin.Close()
		exit, _ := r.end(t)
		assert.Equal(t, 5, exit)
	})
}

func TestDeathBySignal(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSEGV, syscall.SIGTERM} {
			r := start(t, sh.wrap(newLease(t, long), "/bin/sh", "-c", fmt.Sprintf("kill -%d $$", s)))
			exit, _ := r.end(t)
			assert.Equal(t, 128+int(s), exit)
			assert.Empty(t, r.stderr.String(), "the shells comment on it")
		}
	})
}

// TestSurroundings compares all that a command can see with what it sees without us.
func TestSurroundings(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		argv := []string{self(t), "describe", "", "a b", "$HOME", "it's \"quoted\"\n", "-c", "*"}
		dir := t.TempDir()
		for _, env := range [][]string{
			{"A=1", "EMPTY=", "TWO=a\nb", "PATH=" + os.Getenv("PATH")},
			{"PATH=" + os.Getenv("PATH"), "PWD=" + dir, "OLDPWD=/"},
		} {
			describe := func(cmd *exec.Cmd) (d description) {
				cmd.Env, cmd.Dir = env, dir
				r := start(t, cmd)
				go func() {
					io.WriteString(r.stdin, "line\nno end of line")
					r.stdin.Close()
				}()
				exit, printed := r.end(t)
				require.Zero(t, exit)
				require.NoError(t, json.Unmarshal([]byte(printed), &d))
				for i, descriptor := range d.Descriptors {
					d.Descriptors[i], _, _ = strings.Cut(descriptor, ":[") // which pipe it is
				}
				d.Env = without(d.Env, "SHLVL=0") // bash sets it whatever one does
				return d
			}
			assert.Equal(t, describe(leader(argv...)), describe(sh.wrap(newLease(t, long), argv...)))
		}
	})
}

func without(list []string, unwanted string) (rest []string) {
	for _, s := range list {
		if s != unwanted {
			rest = append(rest, s)
		}
	}
	return rest
}
