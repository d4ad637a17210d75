//go:build unix

package reaper

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The helper is the program with this name and, so that no other program's name is mistaken for it, this variable.
const (
	helperName   = "cwsandbox-reaper"
	roleVariable = "CWSANDBOX_REAPER_ROLE"
	roleHelper   = "helper"
)

// Where the helper finds its pipes.
const (
	ordersFD        = 3
	confirmationsFD = 4
)

// startHelper starts the program's executable as the helper.
func startHelper() (*helper, error) {
	log, err := openLog()
	if err != nil {
		return nil, unusable{err}
	}
	defer log.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	theirOrders, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer theirOrders.Close()
	confirmations, theirConfirmations, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, orders.Close())
	}
	defer theirConfirmations.Close()
	process, err := startSelf([]*os.File{null, null, log, theirOrders, theirConfirmations})
	if err != nil {
		return nil, errors.Join(err, orders.Close(), confirmations.Close())
	}
	return newHelper(process, orders, confirmations), nil
}

func startSelf(files []*os.File) (*os.Process, error) {
	self, err := executable()
	if err != nil {
		return nil, err
	}
	// With few threads and a small heap it stays small; it has time.
	own := []string{roleVariable + "=" + roleHelper, "GOMAXPROCS=2", "GOGC=50"}
	return os.StartProcess(self, []string{helperName}, &os.ProcAttr{
		Dir:   "/", // no file system is kept busy
		Env:   append(environ(loaderVariables), own...),
		Files: files,
		Sys:   &syscall.SysProcAttr{Setsid: true}, // away from the terminal and from the program's group
	})
}

// executable prefers the file that runs, which may have been deleted or replaced, to its name.
func executable() (string, error) {
	const self = "/proc/self/exe"
	if _, err := os.Stat(self); err == nil {
		return self, nil
	}
	return os.Executable()
}

// runIfHelper does the helper's work, and does not return, in a process that startHelper has started.
func runIfHelper() {
	if len(os.Args) != 1 || os.Args[0] != helperName || os.Getenv(roleVariable) != roleHelper ||
		!isPipe(ordersFD) || !isPipe(confirmationsFD) {
		return
	}
	detach()
	code := serve(os.NewFile(ordersFD, "orders"), os.NewFile(confirmationsFD, "confirmations"))
	unix.Exit(code) // there is nothing to flush, and os.Exit takes a second in programs built with the race detector
}

func isPipe(fd int) bool {
	var stat unix.Stat_t
	return unix.Fstat(fd, &stat) == nil && stat.Mode&unix.S_IFMT == unix.S_IFIFO
}
