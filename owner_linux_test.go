package cwsandbox

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestReadOwner(t *testing.T) {
	o := readOwner()
	assert.Regexp(t, `^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`, o.Boot)
	assert.Regexp(t, `^pid:\[\d+\]( time:\[\d+\])?$`, o.PIDNamespace)
	assert.NotZero(t, o.ticks)
	assert.WithinRange(t, o.Started, time.Now().Add(-24*time.Hour), time.Now())
	assert.Equal(t, time.UTC, o.Started.Location())
	assert.Equal(t, o, decodeOwner(o.encode()))
	assert.Equal(t, o.ticks, readOwner().ticks)
}

func TestParseStat(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 21 18 987654 20 21"
	for _, name := range []string{"cat", "a b", "x) Z 1 (y", "((", ")", "", "\n"} {
		s, err := parseStat("12 (" + name + ")" + rest + "\n")
		require.NoError(t, err, name)
		assert.Equal(t, processStat{state: "S", threads: 21, started: 987654}, s, name)
	}
	for _, line := range []string{
		"", ")", "12 (cat", "12 (cat) S 1 2", "12 (cat)" + strings.Replace(rest, " 21 ", " x ", 1),
		"12 (cat)" + strings.Replace(rest, "987654", "-1", 1),
	} {
		_, err := parseStat(line)
		assert.Error(t, err, line)
	}
}

func TestProcessEnded(t *testing.T) {
	stat, err := readStat("self")
	require.NoError(t, err)
	assert.False(t, processEnded(os.Getpid(), stat.started))
	assert.True(t, processEnded(os.Getpid(), stat.started+1), "the pid is another process now")

	cmd := exec.Command("sleep", "infinity")
	require.NoError(t, cmd.Start())
	pid := cmd.Process.Pid
	stat, err = readStat(strconv.Itoa(pid))
	require.NoError(t, err)
	assert.False(t, processEnded(pid, stat.started))
	require.NoError(t, cmd.Process.Kill())
	// Wait for the end without taking it: then it is a zombie.
	require.NoError(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil))
	assert.NoError(t, unix.Kill(pid, 0), "still there")
	assert.True(t, processEnded(pid, stat.started), "a zombie")
	assert.Error(t, cmd.Wait())
	assert.True(t, processEnded(pid, stat.started), "gone")

	assert.True(t, processStat{state: "Z", threads: 1}.zombie())
	assert.True(t, processStat{state: "X", threads: 0}.zombie())
	assert.False(t, processStat{state: "Z", threads: 2}.zombie(), "only the first thread has ended")
	assert.False(t, processStat{state: "D", threads: 1}.zombie())
}
