//go:build linux || darwin

package process

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// greeter listens on a port of its choice, prints it, and greets everybody.
const greeter = `use IO::Socket::INET; $| = 1;
my $l = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 5) or die $@;
print $l->sockport, "\n";
while (my $c = $l->accept) { my $line = <$c>; print $c "got $line"; close $c }`

func TestDial(t *testing.T) {
	t.Run("the host's network", func(t *testing.T) {
		eachLevel(t, func(t *testing.T, r *Runtime) { testDial(t, newSandbox(t, r, container.SandboxSpec{})) })
	})
	t.Run("C-170 its own network", func(t *testing.T) {
		eachWalledLevel(t, func(t *testing.T, r *Runtime) {
			testDial(t, newSandbox(t, r, container.SandboxSpec{DenyEgress: true}))
		})
	})
}

func testDial(t *testing.T, sb container.Sandbox) {
	c := startContainer(t, sb, container.Spec{Command: "perl", Args: []string{"-e", greeter}})
	text, err := bufio.NewReader(c.Main().Stdout()).ReadString('\n')
	require.NoError(t, err)
	port, err := strconv.Atoi(strings.TrimSpace(text))
	require.NoError(t, err)
	for range 3 {
		conn, err := sb.Dial(t.Context(), port)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "a line\n")
		require.NoError(t, err)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Equal(t, "got a line\n", string(answer))
		require.NoError(t, conn.Close())
	}
	c.Main().Kill()
	awaitDone(t, c.Main())
	_, err = sb.Dial(t.Context(), port)
	require.Error(t, err)
	assert.Contains(t, err.Error(), syscall.ECONNREFUSED.Error())
	require.NoError(t, sb.Close())
	_, err = sb.Dial(t.Context(), port)
	assert.Error(t, err)
}
