//go:build linux

package cleanuptest

import (
	"context"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serviceTime is that of one DeleteSandbox.
const serviceTime = 50 * time.Millisecond

// The benchmarks make a program with very many sandboxes, send it SIGTERM, and report
//
//	ms/exit         from the signal to the death of the program
//	rpcs/sandbox    calls of DeleteSandbox
//	MiB             peak memory of the program
//	client-ms/exit  processor time of the program between the two
//	server-ms/exit  the same of the server, which lives in the benchmark's own process and shares the machine

func BenchmarkExit5000(b *testing.B)  { benchmarkExit(b, 5000) }
func BenchmarkExit10000(b *testing.B) { benchmarkExit(b, 10000) }

func benchmarkExit(b *testing.B, n int) {
	var total exit
	for b.Loop() {
		e := exitOnce(b, n)
		total.took += e.took
		total.client += e.client
		total.server += e.server
		total.rpcs += e.rpcs
		total.peak = max(total.peak, e.peak)
	}
	perExit := func(d time.Duration) float64 { return float64(d.Milliseconds()) / float64(b.N) }
	b.ReportMetric(perExit(total.took), "ms/exit")
	b.ReportMetric(perExit(total.client), "client-ms/exit")
	b.ReportMetric(perExit(total.server), "server-ms/exit")
	b.ReportMetric(float64(total.rpcs)/float64(n*b.N), "rpcs/sandbox")
	b.ReportMetric(float64(total.peak)/(1<<20), "MiB")
	b.ReportMetric(0, "ns/op") // it would be that of making the sandboxes
}

// exit is what one end of a program has cost.
type exit struct {
	took           time.Duration
	client, server time.Duration // processor time
	rpcs           int64
	peak           int64 // bytes
}

// exitOnce runs the program once, with n sandboxes of a server of its own.
func exitOnce(b *testing.B, n int) exit {
	b.Helper()
	var deletes atomic.Int64
	s := serve(b, func(ctx context.Context, next func(context.Context) (any, error)) (any, error) {
		deletes.Add(1)
		time.Sleep(serviceTime)
		return next(ctx)
	})
	defer s.close()
	runtime.GC() // what the server before has left is not this one's work
	c := start(b, n, s.env()...)
	client, server := processorTime(b, c.cmd.Process.Pid), ownProcessorTime(b)
	peak := watchPeak(c.cmd.Process.Pid)
	took := c.end(b, syscall.SIGTERM)
	e := exit{took: took, rpcs: deletes.Load(), peak: peak()}
	e.server = ownProcessorTime(b) - server
	e.client = c.cmd.ProcessState.UserTime() + c.cmd.ProcessState.SystemTime() - client
	if left := s.active(); len(left) > 0 {
		b.Fatalf("%d sandboxes are left: %s", len(left), &c.stderr)
	}
	return e
}
