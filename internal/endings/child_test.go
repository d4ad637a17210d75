//go:build linux

package endings

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// child is the program of a cell as a process, and what it was started by.
type child struct {
	cell     Cell
	cmd      *exec.Cmd
	order    *os.File
	answers  *os.File
	output   *os.File // the reading end of its standard output, or the terminal
	pid      int      // of the program
	pidfd    int
	ended    chan struct{} // closed when what was started has ended
	at       time.Time     // of that
	gone     chan struct{} // closed when the program and everything around it has
	stderr   bytes.Buffer  // complete when it has gone; of a terminal, all that was written there
	reading  sync.WaitGroup
	launched bool
}

// start starts the program of a cell and waits until it has done its part of the phase.
func start(t *testing.T, c Cell, env ...string) *child {
	t.Helper()
	return launch(t, withSDK, Role{Cell: c}, nil, env)
}

// launch is start for any program and role, with another standard error, unless that is nil.
func launch(t *testing.T, program string, r Role, stderr *os.File, env []string) *child {
	t.Helper()
	c := &child{cell: r.Cell, ended: make(chan struct{}), gone: make(chan struct{}), pidfd: -1}
	argv := command(r.Cell, program)
	c.cmd = exec.Command(argv[0], argv[1:]...)
	role, err := json.Marshal(r)
	require.NoError(t, err)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CWSANDBOX_") {
			c.cmd.Env = append(c.cmd.Env, pair)
		}
	}
	c.cmd.Env = append(append(c.cmd.Env, env...), RoleVariable+"="+string(role))
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.connect(t)
	if stderr != nil {
		c.cmd.Stderr.(*os.File).Close()
		c.cmd.Stderr = stderr
	}
	if r.Setting == FirstProcess {
		inNamespace(c.cmd.SysProcAttr)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c.explain(t)
		}
		c.clear()
	})
	err = c.cmd.Start()
	for _, f := range append(c.cmd.ExtraFiles, c.cmd.Stdout.(*os.File), c.cmd.Stderr.(*os.File)) {
		f.Close()
	}
	require.NoError(t, err)
	c.launched = true
	go func() {
		defer close(c.ended)
		c.cmd.Wait() // its error is the status
		c.at = time.Now()
	}()
	require.NoError(t, c.answers.SetReadDeadline(time.Now().Add(patience)))
	line, err := bufio.NewReader(c.answers).ReadString('\n') // there is only one
	require.NoError(t, err, "the program does not come to its phase")
	require.NoError(t, c.answers.SetReadDeadline(time.Time{}))
	c.follow(t, strings.TrimSpace(line))
	return c
}

// connect makes the files of the program.
func (c *child) connect(t *testing.T) {
	t.Helper()
	orders, order, err := os.Pipe()
	require.NoError(t, err)
	answers, answer, err := os.Pipe()
	require.NoError(t, err)
	c.order, c.answers = order, answers
	c.cmd.ExtraFiles = []*os.File{orders, answer}
	if c.cell.Setting == OnTerminal {
		terminal, side, err := pty.Open()
		require.NoError(t, err)
		c.output, c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = interruptible(t, terminal), side, side, side
		c.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	} else {
		output, stdout, err := os.Pipe()
		require.NoError(t, err)
		complaints, stderr, err := os.Pipe()
		require.NoError(t, err)
		c.output, c.cmd.Stdout, c.cmd.Stderr = output, stdout, stderr
		c.reading.Go(func() {
			defer complaints.Close()
			io.Copy(&c.stderr, complaints) // until the last one who has it is dead
		})
	}
	seen := io.Discard
	if c.cell.Setting == OnTerminal {
		seen = &c.stderr
	}
	c.reading.Go(func() { io.Copy(seen, c.output) })
	t.Cleanup(func() { answers.Close() })
}

// interruptible returns a file of which nobody is kept from closing it by reading it.
func interruptible(t *testing.T, f *os.File) *os.File {
	t.Helper()
	defer f.Close()
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	require.NoError(t, err)
	require.NoError(t, unix.SetNonblock(fd, true))
	return os.NewFile(uintptr(fd), f.Name())
}

// follow gets hold of the program, which may be a descendant of what was started.
func (c *child) follow(t *testing.T, answer string) {
	t.Helper()
	pid, err := strconv.Atoi(answer)
	require.NoError(t, err)
	if c.pid = pid; c.cell.Setting == FirstProcess {
		require.Equal(t, 1, pid)
		c.pid = c.cmd.Process.Pid
	}
	c.pidfd, err = unix.PidfdOpen(c.pid, 0)
	require.NoError(t, err)
	go func() {
		defer close(c.gone)
		<-c.ended
		io.Copy(io.Discard, c.answers)
		c.reading.Wait()
	}()
}

// explain has a program that still lives show what it is doing, and says what it has said.
func (c *child) explain(t *testing.T) {
	if c.pidfd < 0 {
		return
	}
	unix.PidfdSendSignal(c.pidfd, syscall.SIGQUIT, nil, 0)
	select {
	case <-c.gone:
		t.Logf("standard error of the program:\n%s", c.stderr.String())
	case <-time.After(patience / 10):
		t.Log("the program does not end of SIGQUIT")
	}
}

// clear ends what is left of the child.
func (c *child) clear() {
	if c.pidfd >= 0 {
		unix.PidfdSendSignal(c.pidfd, syscall.SIGKILL, nil, 0)
	}
	if c.launched {
		select {
		case <-c.ended:
		default: // the group is still its own
			syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
			<-c.ended
		}
	}
	c.output.Close()
	c.order.Close()
	c.reading.Wait()
	if c.pidfd >= 0 {
		unix.Close(c.pidfd)
	}
}

// command is how the program of a cell is started.
func command(c Cell, program string) []string {
	argv := []string{program}
	switch c.Setting {
	case UnderBash:
		argv = []string{"bash", "-c", `"$0"; exit $?`, program}
	case InPipeline:
		argv = []string{"bash", "-c", `"$0" | head -1 3<&- 4>&-; exit ${PIPESTATUS[0]}`, program}
	case Background:
		argv = []string{"bash", "-c", `nohup "$0" & wait $!`, program}
	}
	if c.Ending == TimedOut {
		argv = append([]string{"timeout", "--preserve-status", "1000"}, argv...)
	}
	return argv
}

// inNamespace makes a process the first one of a pid namespace.
func inNamespace(attr *syscall.SysProcAttr) {
	attr.Cloneflags = syscall.CLONE_NEWPID
	if uid := os.Getuid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
	}
}

// withoutNamespaces says why there are no pid namespaces here; nil: there are.
var withoutNamespaces = sync.OnceValue(func() error {
	cmd := exec.Command("true")
	cmd.SysProcAttr = new(syscall.SysProcAttr)
	inNamespace(cmd.SysProcAttr)
	return cmd.Run()
})

// end makes the program end, but for the second of two signals.
func (c *child) end(t *testing.T) {
	t.Helper()
	switch c.cell.Ending {
	case Interrupted, InterruptedTwice:
		c.typed(t, "\x03", syscall.SIGINT)
	case Quit:
		c.typed(t, "\x1c", syscall.SIGQUIT)
	case HungUp:
		if c.cell.Setting == OnTerminal {
			require.NoError(t, c.output.Close())
			return
		}
		c.signalGroup(t, syscall.SIGHUP)
	case Terminated:
		c.signal(t, syscall.SIGTERM)
	case Killed:
		c.signal(t, syscall.SIGKILL)
	case GroupKilled:
		c.signalGroup(t, syscall.SIGKILL)
	case TimedOut: // as if the time were over
		c.untilAsleep(t)
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGALRM))
	case BrokenPipe:
		require.NoError(t, c.output.Close())
		fallthrough
	default:
		_, err := c.order.WriteString("\n")
		require.NoError(t, err)
	}
}

// typed sends a signal as the keyboard does: to the whole group.
func (c *child) typed(t *testing.T, key string, sig syscall.Signal) {
	t.Helper()
	if c.cell.Setting != OnTerminal {
		c.signalGroup(t, sig)
		return
	}
	_, err := c.output.WriteString(key)
	require.NoError(t, err)
}

// untilAsleep waits until timeout waits for its child. Should it get the signal before it has returned from its fork, it
// exits and leaves the child alone.
func (c *child) untilAsleep(t *testing.T) {
	t.Helper()
	look := time.NewTicker(glance)
	defer look.Stop()
	for late := time.After(patience); ; {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.cmd.Process.Pid))
		require.NoError(t, err)
		if _, state, _ := bytes.Cut(stat, []byte(") ")); state[0] == 'S' {
			return
		}
		select {
		case <-look.C:
		case <-late:
			require.FailNow(t, "timeout does not wait")
		}
	}
}

func (c *child) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := unix.PidfdSendSignal(c.pidfd, sig, nil, 0); err != syscall.ESRCH {
		require.NoError(t, err)
	}
}

// signalGroup signals what was started and everything that this has started, unless it has ended.
func (c *child) signalGroup(t *testing.T, sig syscall.Signal) {
	t.Helper()
	select {
	case <-c.ended:
		return
	default:
	}
	if err := syscall.Kill(-c.cmd.Process.Pid, sig); err != syscall.ESRCH {
		require.NoError(t, err)
	}
}

// wait waits for one of the channels of the child.
func (c *child) wait(t *testing.T, over <-chan struct{}) {
	t.Helper()
	select {
	case <-over:
	case <-time.After(patience):
		require.FailNow(t, "it does not end")
	}
}

func (c *child) status() syscall.WaitStatus { return c.cmd.ProcessState.Sys().(syscall.WaitStatus) }

// lives reports whether the program has not ended.
func (c *child) lives(t *testing.T) bool {
	t.Helper()
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.pidfd), Events: unix.POLLIN}}, 0)
	require.NoError(t, err)
	return n == 0
}

// ignores reports whether the kernel drops a signal to the program.
func (c *child) ignores(t *testing.T, sig syscall.Signal) bool {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.pid))
	require.NoError(t, err)
	found := regexp.MustCompile(`SigIgn:\s*([0-9a-f]+)`).FindSubmatch(status)
	require.NotNil(t, found)
	mask, err := strconv.ParseUint(string(found[1]), 16, 64)
	require.NoError(t, err)
	return mask&(1<<(sig-1)) != 0
}
