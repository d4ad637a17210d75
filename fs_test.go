package cwsandbox

import (
	"io"
	"io/fs"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestForgottenFile expects that the command of a file that was opened and forgotten ends when the file is collected.
func TestForgottenFile(t *testing.T) {
	s, sb := scripted(t)
	s.exec = (&disk{content: sample(8 << 20)}).exec
	done := forgetFile(t, sb)
	runtime.GC()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("the transfer goes on")
	}
}

// forgetFile opens a file, reads a little, and forgets it. The channel is closed when its transfer has ended.
func forgetFile(t *testing.T, sb *Sandbox) <-chan struct{} {
	f := newRemoteFile(sb.FS(t.Context(), "/").(*remoteFS), "f", fileInfo{})
	_, err := io.ReadFull(f, make([]byte, 100))
	require.NoError(t, err)
	return f.content.done
}

func TestParseListing(t *testing.T) {
	entries, err := parseListing("81a4/12/1700000000/./a\nb/\n41ed/4096/1700000001/./-/\na1ff/3/0/./ /\n")
	require.NoError(t, err)
	require.Len(t, entries, 3)
	require.Equal(t, "a\nb", entries[0].Name())
	info, err := entries[0].Info()
	require.NoError(t, err)
	require.Equal(t, fileInfo{"a\nb", 12, 0o644, time.Unix(1700000000, 0)}, info)
	require.Equal(t, "d -/", entries[1].(interface{ String() string }).String())
	require.Equal(t, "L  ", entries[2].(interface{ String() string }).String())
	for _, bad := range []string{"x", "81a4/12/", "81a4/12/1700000000/./a", "zz/12/1/./a/\n", "81a4/x/1/./a/\n", "81a4/1/x/./a/\n"} {
		_, err := parseListing(bad)
		require.Error(t, err, "%q", bad)
	}
}

func TestFSRefusesABadOptionEverywhere(t *testing.T) {
	story(t, "progress", func(t *testing.T, s *script, sb *Sandbox) {
		fsys := sb.FS(t.Context(), "/d", WithProgress(func(int64) {}))
		_, err := fs.ReadFile(fsys, "f")
		all(t, err, ErrInvalidArgument)
		_, err = fs.Stat(fsys, "f")
		all(t, err, ErrInvalidArgument)
		_, err = fs.ReadDir(fsys, ".")
		all(t, err, ErrInvalidArgument)
		_, err = fsys.Open("f")
		all(t, err, ErrInvalidArgument)
	})
}
