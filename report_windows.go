package cwsandbox

import (
	"os"
	"syscall"
)

func duplicateStderr() (*os.File, error) {
	self, err := syscall.GetCurrentProcess()
	if err != nil {
		return nil, err
	}
	var copied syscall.Handle
	err = syscall.DuplicateHandle(self, syscall.Handle(os.Stderr.Fd()), self, &copied, 0, false, syscall.DUPLICATE_SAME_ACCESS)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), "stderr"), nil
}
