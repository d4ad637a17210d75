// Service runs the programs that it is sent, each in a sandbox of its own, and handles its signals itself: on SIGINT or
// SIGTERM it answers the requests that are in flight, and then stops its sandboxes.
//
//	go run ./examples/service -listen 127.0.0.1:8080
//	curl --data 'sleep 5; echo hello' http://127.0.0.1:8080/run
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

var (
	listen   = flag.String("listen", "127.0.0.1:0", "`address` to serve on")
	patience = flag.Duration("drain", 20*time.Second, "how long requests may go on after a signal")
)

func main() {
	stop := demo.Serve()
	flag.Parse()
	err := run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	cwsandbox.DisableSignalHandling() // its cleanup would stop the sandboxes of requests that still drain
	ctx, restore := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer restore()

	session, err := cwsandbox.NewSession(cwsandbox.WithTags("playground"), cwsandbox.WithMaxLifetime(10*time.Minute))
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: routes(session), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())

	select {
	case err = <-failed:
	case <-ctx.Done():
		fmt.Println("draining")
	}
	restore() // a second signal ends the program at once
	drain, cancel := context.WithTimeout(context.Background(), *patience)
	defer cancel()
	err = errors.Join(err, server.Shutdown(drain))
	undo, cancel := context.WithTimeout(context.Background(), 20*time.Second) // of its own: draining may use up the other
	defer cancel()
	err = errors.Join(err, session.Shutdown(undo), cwsandbox.Cleanup(undo))
	fmt.Println("sandboxes left:", cwsandbox.Tracked())
	return err
}

func routes(session *cwsandbox.Session) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /run", func(w http.ResponseWriter, r *http.Request) {
		program, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		var res *cwsandbox.Result
		err = session.RunFunc(r.Context(), func(sb *cwsandbox.Sandbox) (err error) {
			fmt.Println("running a program in", sb.ID())
			res, err = sb.Exec(r.Context(), []string{"sh", "-c", string(program)}, cwsandbox.WithTimeout(time.Minute))
			return err
		})
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintf(w, "%s%sexit code %d\n", res.Stdout, res.Stderr, res.ExitCode)
	})
	return mux
}
