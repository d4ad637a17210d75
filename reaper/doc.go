// Package reaper stops the sandboxes of a program that dies: by SIGKILL, by the kernel when memory runs out, by a panic,
// os.Exit, log.Fatal or a signal that nobody handles, by anything that ends the process. A program takes it in with
//
//	import _ "github.com/cwsandbox/cwsandbox-go/reaper"
//
// in package main. Nothing else is to be done; [Protected] tells whether it works.
//
// # How it works
//
// When the program is about to create its first sandbox, its own executable is started a second time, as a helper process.
// The init function of this package recognizes the helper, does its work there and never returns, so that main does not
// run in it. Over a pipe the helper learns of every create before it is sent, of the sandboxes that they make, of those
// that sessions adopt, and of those that need no stop any more. When the program ends, however it ends, the pipe closes.
// The helper then repeats the creates whose outcome it does not know, with their own request ids, and deletes what they
// made; it deletes what is still tracked, with a grace of at most 5 seconds; it asks again for creates that the service
// has refused, which may still have been on their way; and it exits. While the service cannot be reached it tries again,
// for 5 minutes.
//
// The helper has a session of its own, no terminal and no files of the program, and it ignores the signals that usually end
// programs, so that Ctrl+C, a kill of the program's process group and the end of the terminal do not reach it. It follows
// what a [cwsandbox.WithCredentials] callback returns. Secrets go over the pipe only: neither its arguments nor
// its environment show any. What the program starts by itself inherits nothing of this.
//
// If the helper dies it is started again, five times a minute at most, and told everything anew. A create never fails
// because of it: where it does not answer within two seconds the create goes on without it. All this is logged as a
// warning, to the client's logger or, where it has none, to [log/slog.Default].
//
// # Environment
//
//   - CWSANDBOX_REAPER_LOG names a file to which the helper appends what it does, and why it failed. There is no log
//     without it.
//   - CWSANDBOX_REAPER_TIMEOUT is how long the helper tries after the program's end, as a duration such as 90s or 10m or
//     as whole seconds; 5 minutes by default.
//
// They are read when the helper starts. A file that cannot be opened, or a duration that cannot be read, is logged and
// leaves the program without a helper.
//
// # Cost
//
// A create waits for one round trip over a pipe, some 30 µs, and the first one for the start of the helper, some
// milliseconds and the time that the program's package initialization takes. The helper holds a few hundred bytes for each
// sandbox and the request of each create in flight. Without work it uses no processor time and some 12 MB of memory of its
// own, most of it the Go runtime and the packages that the program is made of.
//
// # Limits
//
//   - On Windows there is no helper: a warning says so, and [Protected] is false.
//   - Clients with dial options are not covered: nothing can hand them to another process. A warning says so, and
//     [Protected] is false while one of them has sandboxes.
//   - The helper dies with the program where a whole control group or container is killed: systemd does so with a service
//     (but for KillMode=process), and a container ends when its first process does. An init process that survives the
//     program, such as that of docker run --init, does not help when the container itself is killed. Leases and max
//     lifetimes cover that.
//   - The newest token of a callback may have expired when the program dies after a long pause.
//   - A program that closes descriptors that it did not open, or replaces itself with another one by exec, cuts the pipe:
//     its sandboxes are stopped.
//   - The init functions of other packages may run in the helper before this one; what they do at import happens twice.
//     The helper's environment holds little more than what makes the executable start, the settings of proxies and
//     certificates come over the pipe. A program whose initialization needs more than that has no helper, and is told so.
package reaper
