package process

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mkfifoat makes a pipe by its path: this system's wrapper has no call for one below a directory.
func mkfifoat(dir *os.File, name string) error { return unix.Mkfifo(dir.Name()+"/"+name, 0o600) }

func accessTime(stat *syscall.Stat_t) time.Time { return time.Unix(stat.Atimespec.Unix()) }
