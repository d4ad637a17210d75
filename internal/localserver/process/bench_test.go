//go:build linux || darwin

package process

import (
	"testing"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// BenchmarkSandbox measures the start of a sandbox with one waiting container.
func BenchmarkSandbox(b *testing.B) {
	benchEachLevel(b, func(b *testing.B, r *Runtime) {
		for b.Loop() {
			sb, err := r.NewSandbox(b.Context(), container.SandboxSpec{ID: "sb-bench"})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := sb.Start(b.Context(), container.Spec{}); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			if err := sb.Close(); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
		}
	})
}

// BenchmarkExec measures a command that prints a word.
func BenchmarkExec(b *testing.B) {
	benchEachLevel(b, func(b *testing.B, r *Runtime) {
		sb, err := r.NewSandbox(b.Context(), container.SandboxSpec{ID: "sb-bench"})
		if err != nil {
			b.Fatal(err)
		}
		c, err := sb.Start(b.Context(), container.Spec{})
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			p, err := c.Exec(b.Context(), container.ProcessSpec{Argv: []string{"echo", "word"}})
			if err != nil {
				b.Fatal(err)
			}
			if err := expectOutput(p, "word\n"); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func benchEachLevel(b *testing.B, bench func(b *testing.B, r *Runtime)) {
	for _, l := range levels {
		b.Run(l.name, func(b *testing.B) {
			r, err := New(Options{Isolation: l.name, DataDir: b.TempDir()})
			if err != nil {
				b.Skipf("this machine does not allow it: %v", err)
			}
			defer r.Close()
			bench(b, r)
		})
	}
}
