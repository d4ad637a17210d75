package process

import "golang.org/x/sys/unix"

const (
	getTermios   = unix.TIOCGETA
	disabledChar = 0xff // of a control character that is switched off
)
