//go:build linux || darwin

package cwsandbox

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// attentive is the least service that leased sandboxes can be made and kept in.
type attentive struct {
	sandboxv1.UnimplementedSandboxServiceServer
	made, writes atomic.Int64
}

func (a *attentive) CreateSandbox(context.Context, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
	return record(fmt.Sprint("sb-", a.made.Add(1)), sandboxv1.State_STATE_RUNNING), nil
}

func (a *attentive) WriteFile(context.Context, *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
	a.writes.Add(1)
	return &sandboxv1.WriteFileResponse{}, nil
}

// BenchmarkLease2000 measures what 2,000 leases of two minutes cost in processor time, over one round of heartbeats. The
// service over loopback is in the same process, so it is counted too.
func BenchmarkLease2000(b *testing.B) {
	const leases, length = 2000, 2 * time.Minute
	service, server := &attentive{}, grpc.NewServer()
	sandboxv1.RegisterSandboxServiceServer(server, service)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	c, err := NewClient(WithBaseURL("http://"+listener.Addr().String()), WithAPIKey("key"),
		clientOption(func(c *clientConfig) { c.privateRegistry = true }))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		c.Close()
		c.closeWhole()
		server.Stop()
		serving.Wait()
	})
	for range leases {
		if _, err := c.Create(b.Context(), WithLease(length)); err != nil {
			b.Fatal(err)
		}
	}
	for service.writes.Load() < leases {
		time.Sleep(time.Millisecond)
	}
	for b.Loop() {
		used, begin, writes := processorTime(), time.Now(), service.writes.Load()
		time.Sleep(length / beatShare)
		b.ReportMetric(100*(processorTime()-used).Seconds()/time.Since(begin).Seconds(), "%core")
		b.ReportMetric(float64(service.writes.Load()-writes)/time.Since(begin).Seconds(), "beats/s")
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
