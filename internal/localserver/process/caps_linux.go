package process

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// capabilityNumbers are those of [container.DefaultCapabilities].
var capabilityNumbers = map[string]uint{
	"CHOWN": unix.CAP_CHOWN, "DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "FSETID": unix.CAP_FSETID, "FOWNER": unix.CAP_FOWNER,
	"NET_RAW": unix.CAP_NET_RAW, "SETGID": unix.CAP_SETGID, "SETUID": unix.CAP_SETUID, "SETFCAP": unix.CAP_SETFCAP,
	"SETPCAP": unix.CAP_SETPCAP, "NET_BIND_SERVICE": unix.CAP_NET_BIND_SERVICE, "SYS_CHROOT": unix.CAP_SYS_CHROOT,
	"KILL": unix.CAP_KILL, "AUDIT_WRITE": unix.CAP_AUDIT_WRITE,
}

// initCapabilities are what init needs for its work: to start processes as another user, and to signal them.
const initCapabilities = 1<<unix.CAP_SETUID | 1<<unix.CAP_SETGID | 1<<unix.CAP_CHOWN | 1<<unix.CAP_KILL

func capabilitySet(names []string) (set uint64) {
	for _, name := range names {
		set |= 1 << capabilityNumbers[name]
	}
	return set
}

// restrict takes from this process what its container must not have. Capabilities belong to threads: it takes them
// from the calling one, whose children then have no more either.
func restrict(s container.Security) error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core dumps: %w", err)
	}
	// Without this, processes of the container could reach into the threads of this one that keep their rights.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("tracing: %w", err)
	}
	if !s.GainPrivileges {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("new privileges: %w", err)
		}
	}
	if s.User != 0 || s.Group != 0 {
		if err := unix.Setgroups(nil); err != nil { // they would count for the files that are opened
			return fmt.Errorf("groups: %w", err)
		}
	}
	if err := dropCapabilities(capabilitySet(container.DefaultCapabilities) &^ capabilitySet(s.Drop)); err != nil {
		return fmt.Errorf("capabilities: %w", err)
	}
	return nil
}

// dropCapabilities leaves processes that this thread starts no more than what is kept.
func dropCapabilities(keep uint64) error {
	for c := uintptr(0); c < 64; c++ {
		if keep&(1<<c) != 0 {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		if err == unix.EINVAL {
			break // the kernel has no more
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // the low and the high half of the capabilities
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	for half := range sets {
		kept := uint32((keep | initCapabilities) >> (32 * half))
		sets[half].Effective &= kept
		sets[half].Permitted &= kept
		sets[half].Inheritable = 0
	}
	return unix.Capset(&header, &sets[0])
}
