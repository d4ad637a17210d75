package cwsandbox_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestDefectOfTheDefaultCommand runs it where it is pid 1, if the machine allows that: there only a handler makes a signal
// count.
func TestDefectOfTheDefaultCommand(t *testing.T) {
	t.Run("defect 35: the default command does not mind SIGTERM", func(t *testing.T) {
		server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
		sb := world{server, server.Client()}.run(t)
		output(t, sb, "until grep -qsx sleep /proc/[0-9]*/comm; do sleep 0.01; done") // then it is ready for signals
		begin := time.Now()
		result, err := sb.Stop(cwsandbox.WithGrace(patience)).Wait()
		require.NoError(t, err)
		assert.Less(t, time.Since(begin), patience)
		require.NotNil(t, result.Info.ExitCode, "%+v", result.Info)
		assert.Zero(t, *result.Info.ExitCode)
	})
}
