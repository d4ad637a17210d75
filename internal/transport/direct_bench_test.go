package transport

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// BenchmarkCooling is what the choice of the gateway adds to a call while nothing direct is tried.
func BenchmarkCooling(b *testing.B) {
	t := serve(b, empty).transport(b, nil)
	p := t.Path("sb", Auto)
	p.cooling = time.Now().Add(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		l, e := p.acquire(b.Context(), b.Context(), sandboxv1.SandboxDataPlaneService_ReadFile_FullMethodName)
		require.True(b, l == nil && e == nil)
	}
}
