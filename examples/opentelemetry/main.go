// Opentelemetry observes a client: a stats handler of gRPC makes a span of each request, the way OpenTelemetry does, the
// client's logger goes to standard output, and the session counts.
//
//	go run ./examples/opentelemetry
//
// This module does not depend on OpenTelemetry. A program that does needs nothing of the handler below:
//
//	import "go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
//
//	cwsandbox.WithDialOptions(grpc.WithStatsHandler(otelgrpc.NewClientHandler()))
//
// That one also adds traceparent to what is sent; here spans do that themselves. A span of the program's own around several
// requests is begun in the context that they get, as anywhere else.
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) (err error) {
	client, err := cwsandbox.NewClient(
		cwsandbox.WithDialOptions(grpc.WithStatsHandler(tracer{})),
		cwsandbox.WithLogger(slog.New(slog.NewTextHandler(os.Stdout, nil))),
	)
	if err != nil {
		return err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, session.Close())
		report(session.Stats())
	}()

	ctx, trace := withTrace(ctx)
	fmt.Println("trace", trace)
	sb, err := session.Run(ctx)
	if err != nil {
		return err
	}
	for _, script := range []string{"echo hello", "sleep 0.1", "exit 3"} {
		if _, err := sb.Exec(ctx, []string{"sh", "-c", script}); err != nil {
			return err
		}
	}
	return nil
}

// report prints what a metrics library would be given.
func report(s cwsandbox.SessionStats) {
	fmt.Println("sandboxes created:", s.Created)
	fmt.Println("average startup is known:", s.StartupAverage() > 0)
	fmt.Printf("commands: %d, ok %d, nonzero %d, failed %d\n", s.Commands, s.OK, s.NonZero, s.Failed)
	fmt.Printf("commands per sandbox: %.1f\n", s.CommandsPerSandbox())
}

type traceKey struct{}

// withTrace begins a trace.
func withTrace(ctx context.Context) (context.Context, string) {
	id := make([]byte, 16)
	rand.Read(id)
	trace := fmt.Sprintf("%x", id)
	return context.WithValue(ctx, traceKey{}, trace), trace
}

type spanKey struct{}

// span is one request.
type span struct {
	name           string
	parent, id     string
	sent, received atomic.Int64
}

// tracer prints a line for each request when it is over. Its methods are called by many goroutines.
type tracer struct{}

// TagRPC begins a span, and tells the service about it as the W3C's trace context does.
func (tracer) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	id := make([]byte, 8)
	rand.Read(id)
	s := &span{name: path.Base(info.FullMethodName), id: fmt.Sprintf("%x", id)}
	s.parent, _ = ctx.Value(traceKey{}).(string)
	if s.parent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", "00-"+s.parent+"-"+s.id+"-01")
	}
	return context.WithValue(ctx, spanKey{}, s)
}

// HandleRPC counts messages and ends the span.
func (tracer) HandleRPC(ctx context.Context, event stats.RPCStats) {
	s, ok := ctx.Value(spanKey{}).(*span)
	if !ok {
		return
	}
	switch event := event.(type) {
	case *stats.OutPayload:
		s.sent.Add(1)
	case *stats.InPayload:
		s.received.Add(1)
	case *stats.End:
		took := event.EndTime.Sub(event.BeginTime).Round(time.Microsecond)
		fmt.Printf("span %s %s: %s in %v, %d messages sent, %d received, of a trace: %t\n",
			s.id, s.name, status.Code(event.Error), took, s.sent.Load(), s.received.Load(), s.parent != "")
	}
}

func (tracer) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

func (tracer) HandleConn(context.Context, stats.ConnStats) {}
