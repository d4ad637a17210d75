package process

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func mkfifoat(dir *os.File, name string) error { return unix.Mkfifoat(int(dir.Fd()), name, 0o600) }

func accessTime(stat *syscall.Stat_t) time.Time { return time.Unix(stat.Atim.Unix()) }
