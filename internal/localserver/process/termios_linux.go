package process

import "golang.org/x/sys/unix"

const (
	getTermios   = unix.TCGETS
	disabledChar = 0 // of a control character that is switched off
)
