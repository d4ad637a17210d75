package cwsandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const benchLines = 100_000

// BenchmarkLogs reads a log by lines. The stub's user makes a string of each line, too.
func BenchmarkLogs(b *testing.B) {
	printing := scripted.Command{Run: func(ctx context.Context, p *scripted.Proc) int {
		var all bytes.Buffer
		for i := range benchLines {
			fmt.Fprintf(&all, "%06d the quick brown fox jumps over the lazy dog, again and again\n", i)
		}
		p.Stdout.Write(all.Bytes())
		<-ctx.Done()
		return 0
	}}
	rt := scripted.New(scripted.WithCommand("print", printing))
	report := func(b *testing.B, lines int) {
		if lines != b.N*benchLines {
			b.Fatalf("%d lines", lines)
		}
		b.ReportMetric(float64(lines)/b.Elapsed().Seconds(), "lines/s")
	}
	overBothWith(b, rt, []cwsandbox.Option{cwsandbox.WithCommand("print")}, func(b *testing.B, with bench) {
		ctx := benchContext(b)
		awaitBenchLog(b, with)
		lines := 0
		b.ReportAllocs()
		for b.Loop() {
			n, err := rawLines(ctx, with)
			if err != nil {
				b.Fatal(err)
			}
			lines += n
		}
		report(b, lines)
	}, func(b *testing.B, with bench) {
		awaitBenchLog(b, with)
		lines := 0
		b.ReportAllocs()
		for b.Loop() {
			for line, err := range with.sandbox.Logs(b.Context()) {
				if err != nil || line.Partial {
					b.Fatal(line, err)
				}
				lines++
			}
		}
		report(b, lines)
	})
}

// awaitBenchLog waits until the whole log was printed.
func awaitBenchLog(b *testing.B, with bench) {
	b.Helper()
	lines := 0
	for _, err := range with.sandbox.Logs(b.Context(), cwsandbox.WithFollow()) {
		if err != nil {
			b.Fatal(err)
		}
		if lines++; lines == benchLines {
			return
		}
	}
}

// rawLines is the least that makes lines of a log.
func rawLines(ctx context.Context, with bench) (lines int, err error) {
	stream, err := with.stub.StreamLogs(ctx, &sandboxv1.StreamLogsRequest{SandboxId: with.sandbox.ID()})
	if err != nil {
		return 0, err
	}
	var rest []byte
	for {
		entry, err := stream.Recv()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return 0, err
		}
		data := entry.GetData()
		for {
			n := bytes.IndexByte(data, '\n')
			if n < 0 {
				rest = append(rest, data...)
				break
			}
			rest = append(rest, data[:n]...)
			benchLine = string(rest)
			rest, data = rest[:0], data[n+1:]
			lines++
		}
	}
}

var benchLine string
