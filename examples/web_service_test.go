//go:build linux

package examples

import (
	"os"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestWebService is for Linux, where a file can tell a program whom to trust. The sandboxes share this machine's network,
// so that each needs a port of its own; they lie below those that the system gives away.
func TestWebService(t *testing.T) {
	var port atomic.Int32
	port.Store(int32(20000 + os.Getpid()%6000*2))
	onBothServers(t, func(t *testing.T, env []string) {
		out, err := command(t, env, "web-service", "-port", strconv.Itoa(int(port.Add(1)))).CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), " answers; a request may take 15s\n200 OK: this is /home\nwith a wrong token:\n401 Unauthorized: ")
	})
}
