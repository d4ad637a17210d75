// Package cwsandbox is the Go SDK for CoreWeave Sandbox: isolated remote containers in which a program runs commands that
// it does not trust.
//
// A script makes a sandbox, uses it, and stops it:
//
//	sb, err := cwsandbox.Run(ctx, cwsandbox.WithImage("golang:1.26"))
//	if err != nil {
//		return err
//	}
//	defer sb.Stop().Wait()
//	out, err := sb.Output(ctx, "go", "version")
//	if err != nil {
//		return err
//	}
//	fmt.Printf("%s", out)
//
// A service makes one client, and a session for each job; closing the session stops what the job made:
//
//	client, err := cwsandbox.NewClient(cwsandbox.WithLogger(logger))
//	...
//	session, err := client.NewSession(cwsandbox.WithTags("job-42"), cwsandbox.WithMaxLifetime(10*time.Minute))
//	if err != nil {
//		return err
//	}
//	defer func() { err = errors.Join(err, session.Close()) }()
//	sb, err := session.Run(ctx)
//	if err != nil {
//		return err
//	}
//	res, err := sb.Exec(ctx, []string{"make", "test"}, cwsandbox.WithStdout(w), cwsandbox.WithTimeout(time.Minute))
//
// # Configuration
//
// [NewClient] takes options; what they leave open comes from the environment, read once:
//
//   - CWSANDBOX_API_KEY: the API key. Without one, here or by [WithAPIKey] or [WithCredentials], there is no client.
//   - CWSANDBOX_BASE_URL: where the service is, https://api.cwsandbox.com by default. Plain http is for loopback.
//   - CWSANDBOX_MAX_LIFETIME: the max lifetime of sandboxes, such as 90m or a number of seconds. The default is one hour.
//   - CWSANDBOX_CLEANUP_TIMEOUT and CWSANDBOX_DISABLE_SIGNAL_HANDLING: see Signals.
//
// What a create says lies over the options of its session, those over the environment, and that over what is built in; a
// bundle made by [Defaults] counts where it stands. Tags, environment variables and annotations merge, everything else is
// replaced whole.
//
// # Contexts
//
// A context bounds a request and never the sandbox. Of a command it is the life, as in os/exec. Only [Sandbox.Stop] and
// [Session.Close] take none: they undo, and have budgets of their own. A request without a deadline gets one, 300 seconds
// unless [WithRequestTimeout] says otherwise; a command gets none.
//
// # Errors
//
// Every error of a call is an [*Error] that matches sentinels by [errors.Is]: [ErrNotFound], [ErrNotRunning],
// [ErrUnavailable] and so on. File errors also match [io/fs.ErrNotExist] and [io/fs.ErrPermission], and an error matches
// [context.Canceled] or [context.DeadlineExceeded] exactly when the caller's own context ended. A command's exit code is
// a result of [Sandbox.Exec], and an [*ExitError] of [Sandbox.Output].
//
// # Retries
//
// Reads, deletes and creates repeat what fails in passing, for at most 30 seconds from the first failure
// ([WithRetryBudget]), honoring the service's own wish for a pause. A create and its repetitions carry one request id, so
// that they make one sandbox. Commands and file writes are never repeated. A log that is followed goes on where its stream
// was lost, after 0.5, 1 and 2 seconds ([WithoutResume] turns that off).
//
// # Inside a sandbox
//
// [Sandbox.Exec] waits for a command, [Sandbox.StartProcess] gives a handle, [Sandbox.Command] has the shape of os/exec, and
// [Sandbox.Shell] a terminal. [Sandbox.Logs] is what the main process prints. [Sandbox.ReadFile], [Sandbox.Upload],
// [Sandbox.UploadFS], [Sandbox.FS] and their like move files, [Sandbox.DialContext] and [Sandbox.Forward] connect to servers.
// Output is never cut unseen, a stream that ends too early is an error, and whoever does not read holds the other side
// back. All of this goes directly to where the sandbox runs if that can be had, and else through the service's gateway:
// see [WithDataPlane].
//
// # What a sandbox is made of
//
// Options of a create say it: [WithContainers], [WithSecrets], [WithVolumes], [WithServices], [WithNetwork], [WithPlacement]
// and their like; [WithTemplate] and [WithCompose] create from something else. [Sandbox.Snapshot] archives a scratch volume,
// and [WithRestored] fills another sandbox from it. [Sandbox.WaitEndpoint] and [Sandbox.HTTPClient] reach a published port.
// [NewFunc] makes a function of the program one that runs in a sandbox. What belongs to an organization, such as templates,
// registered volumes and secret stores, are methods of [Client].
//
// # Leaving nothing behind
//
// Who makes a sandbox stops it, by defer sb.Stop().Wait(), by closing its [Session], or with [RunFunc]. For the rest a
// process tracks every sandbox that it makes or adopts, from the moment the create is sent until it is known to end.
// [Client.Run] and [Client.Create] leave nothing behind when they fail, not even when the answer of the service was lost.
//
// Go runs nothing by itself when main returns, so a program hands its work to [Main], or defers
// Cleanup(context.Background()), see [Cleanup], and ends by [Exit] instead of os.Exit. What no code in the program can do,
// after SIGKILL, os.Exit, or a panic in another goroutine, the helper process of package reaper does. What even that does
// not live to see ends with the sandbox's lease, see [WithLease], or its max lifetime; [Client.Orphans] finds what
// processes of this host have left, [WithTags] and [Client.Purge] the rest.
//
// # Signals
//
// When the first sandbox is tracked the package begins to listen for SIGINT, SIGTERM and SIGHUP; a signal that the program
// ignores stays ignored. The first one stops everything that is tracked, at once and within 7 seconds ([SetCleanupTimeout]
// or CWSANDBOX_CLEANUP_TIMEOUT). Then the signal takes its course: the process dies of it, as it would have without this
// package. What could not be stopped is named on standard error. A second SIGINT or SIGTERM ends the process at once,
// with the status 130 or 143.
//
// While it is being handled, calls of this package that end because of it return only when everything is stopped, so that
// main does not end the program too early.
//
// Handlers of the program get the signal too. If it waits by [os/signal.NotifyContext], and did so for a second at least,
// the sandboxes are stopped and the program is left alone: it ends itself. Any other handler is invisible, and gets the
// signal a second time when the cleanup is over; on Windows the program ends then. Programs with such handlers, and
// services that drain before they stop their sandboxes, call [DisableSignalHandling], or set
// CWSANDBOX_DISABLE_SIGNAL_HANDLING=1, and then use [Session.Shutdown] and [Cleanup] themselves; examples/service does. Or
// they do their work in [Main], whose context ends with the signal.
package cwsandbox
