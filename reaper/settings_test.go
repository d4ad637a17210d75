//go:build unix

package reaper

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"": 5 * time.Minute, "90": 90 * time.Second, "90s": 90 * time.Second, " 10m ": 10 * time.Minute,
	} {
		t.Setenv(timeoutVariable, text)
		got, err := readTimeout()
		require.NoError(t, err)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"soon", "0", "-1s"} {
		t.Setenv(timeoutVariable, text)
		_, err := readTimeout()
		assert.ErrorContains(t, err, timeoutVariable, text)
	}
}

func TestLogGoesToAFileOrNowhere(t *testing.T) {
	t.Setenv(logVariable, "")
	nowhere, err := openLog()
	require.NoError(t, err)
	defer nowhere.Close()
	assert.Equal(t, os.DevNull, nowhere.Name())

	name := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(name, []byte("before\n"), 0o600))
	t.Setenv(logVariable, name)
	file, err := openLog()
	require.NoError(t, err)
	defer file.Close()
	_, err = file.WriteString("after\n")
	require.NoError(t, err)
	content, err := os.ReadFile(name)
	require.NoError(t, err)
	assert.Equal(t, "before\nafter\n", string(content))
}
