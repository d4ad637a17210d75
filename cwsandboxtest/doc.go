// Package cwsandboxtest serves the sandbox API on the machine that a test runs on, as net/http/httptest does for HTTP:
// code that uses package cwsandbox can be tested without an account and without a network.
//
//	func TestGreeting(t *testing.T) {
//		srv := cwsandboxtest.NewServer(t)
//		client := srv.Client()
//		sb, err := client.Run(t.Context())
//		if err != nil {
//			t.Fatal(err)
//		}
//		defer sb.Stop().Wait()
//		out, err := sb.Output(t.Context(), "echo", "hello")
//		...
//	}
//
// The server is the real one: states, validation, errors, streams and limits are those that the service has. What runs
// in its sandboxes is up to the test. By default commands are Go functions, see [WithCommand], and files are in memory,
// which is fast and, with [InMemory], also works in the fake time of testing/synctest. With [Processes] commands are
// real processes of this machine.
//
// A test can also look at what the server was asked, see [Server.Calls], make it misbehave, see [Server.Inject], and
// put sandboxes into states that are hard to reach, see [Server.Hold].
//
// A test fails when it leaves a sandbox running; [AllowLeftovers] turns that off.
package cwsandboxtest
