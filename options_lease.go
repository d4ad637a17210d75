package cwsandbox

import (
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
)

// WithLease has the sandbox end by itself when this program no longer looks after it, however it ended: killed, its
// machine without power or network. The program writes a heartbeat into the sandbox five times in d, in the background,
// from the create until a stop is accepted, [Sandbox.Detach] or [Client.Close]. When none has come for d, the main process
// gets SIGTERM and soon after SIGKILL, and the sandbox is completed with exit code 0: between 1.0 and 1.1 times d after the
// last heartbeat, or after the start of the main process when there never was one.
//
// d is at least one second and at most 24 hours; zero takes back what a weaker layer says. A lease survives a pause of the
// program of 60 % of d, and failures of single calls. Below ten seconds a slow network is a danger to it. When it is lost
// all the same, a warning is logged, and the context of the session that owns the sandbox ends with [ErrLeaseLost] as its
// cause: see [Session.Context].
//
// The main process, the default one or that of [WithCommand], runs below a small shell, which hands on its signals and its
// exit code; a command that does not exist shows as exit code 127. Where the image's sh is bash, of two different signals
// within a moment one may get lost, which is a fault of bash. It costs the sandbox three idle processes, and a sleep
// that is started 30 times in d, or every two seconds. The image needs /bin/sh and sleep; without them the start fails.
// The files of the lease lie in /tmp and /dev/shm, below names that begin with .cwsandbox-lease. There is nothing to wrap
// with [WithImageCommand], so that is [ErrInvalidArgument]. An annotation says that there is a lease; it counts towards
// their limit. The program spends less than 1 % of a core on 2,000 leases of two minutes.
//
// A session that adopts a leased sandbox keeps its lease, whoever created it.
func WithLease(d time.Duration) Option {
	return createOption{printed("WithLease", d), func(c *createConfig) {
		if d != 0 && (d < lease.Shortest || d > lease.Longest) {
			c.faults.add("lease", "must be from %v to %v, or zero for none, is %v", lease.Shortest, lease.Longest, d)
		}
		c.lease = setting[time.Duration]{d, c.layer}
	}}
}
