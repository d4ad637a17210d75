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
// that they make one sandbox. Commands and file writes are never repeated.
//
// # Leaving nothing behind
//
// Who makes a sandbox stops it. [Client.Run] and [Client.Create] leave nothing behind when they fail, not even when the
// answer of the service was lost; a [Session] stops what it made; every sandbox carries a max lifetime, after which the
// service ends it.
package cwsandbox
