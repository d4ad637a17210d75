package process

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// runSupervisor is the life of a supervisor: PID 1 of a sandbox's namespaces, which starts inits and reports their
// ends. It goes when the server does, and the kernel ends the sandbox with it.
func runSupervisor() error {
	c, err := newConn(controlFD)
	if err != nil {
		return err
	}
	ignoreSignals()
	r := newReaper(func(int) {}, func(id uint64, status unix.WaitStatus) {
		// When this cannot be sent the server is gone, and so will we be.
		_ = c.send(&reply{ID: id, Ended: true, Code: exitCode(status)})
	})
	// A supervisor ends with its server only: the loop needs no end of its own.
	go r.run()
	for {
		var req request
		fds, err := c.receive(&req)
		if err != nil {
			return nil
		}
		switch {
		case req.Dial != 0:
			go answerDial(c, req.ID, req.Dial) // it may take a while; ends by itself
			continue
		case req.Copy != nil && len(fds) == 1:
			go answerCopy(c, &req, fds[0]) // ends with the copy, and that with its pipe at the latest
			continue
		}
		answer := failed(supervise(r, &req, fds))
		closeFDs(fds)
		answer.ID = req.ID
		if err := c.send(&answer); err != nil {
			return nil
		}
	}
}

func supervise(r *reaper, req *request, fds []int) error {
	switch {
	case req.Sandbox != nil:
		return setUpSandbox(req.Sandbox)
	case req.Launch && len(fds) == 1:
		return r.start(req.ID, func() (int, error) { return startInit(fds[0]) })
	default:
		return errors.New("unknown request to the supervisor")
	}
}

func setUpSandbox(s *sandboxSetup) error {
	if err := unix.Sethostname([]byte(s.Hostname)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if err := mountMemory(s.Memory); err != nil {
		return err
	}
	if !s.Loopback {
		return nil
	}
	if err := raiseLoopback(); err != nil {
		return fmt.Errorf("loopback interface: %w", err)
	}
	return nil
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

func startInit(control int) (int, error) {
	pid, err := syscall.ForkExec(selfExecutable, []string{roleInit}, &syscall.ProcAttr{
		Env:   roleEnviron(roleInit),
		Files: []uintptr{0, 1, 2, uintptr(control)},
		Sys:   &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS},
	})
	if err != nil {
		return 0, fmt.Errorf("start init: %w", err)
	}
	return pid, nil
}

// ignoreSignals keeps a helper alive when processes of the sandbox signal PID 1. The signals are caught and dropped
// rather than ignored, because children would inherit the latter.
func ignoreSignals() {
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1,
		unix.SIGUSR2, unix.SIGALRM, unix.SIGVTALRM, unix.SIGPROF, unix.SIGABRT, unix.SIGTRAP, unix.SIGXCPU, unix.SIGXFSZ)
}
