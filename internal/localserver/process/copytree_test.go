//go:build linux || darwin

package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// meanwhile is a context that does something whenever it is looked at.
type meanwhile struct {
	context.Context
	do func()
}

func (m meanwhile) Err() error {
	m.do()
	return nil
}

func TestCopyOfAGrowingFileEnds(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	log, err := os.Create(filepath.Join(from, "log"))
	require.NoError(t, err)
	defer log.Close()
	piece := make([]byte, 1<<20)
	piece[0] = 1
	write := func() {
		_, err := log.Write(piece)
		assert.NoError(t, err)
	}
	write()
	looks := 0
	size, err := copyTree(meanwhile{t.Context(), func() {
		if looks++; looks < 100 { // as fast as it is copied, and less than for ever
			write()
		}
	}}, copying{From: from, To: to})
	require.NoError(t, err)
	info, err := os.Stat(filepath.Join(to, "log"))
	require.NoError(t, err)
	assert.Equal(t, size, info.Size())
	assert.Less(t, looks, 100)
}

// TestCopyOfWhatIsNoDirectoryAnyMore has something take the place of a directory after the copier has seen it.
func TestCopyOfWhatIsNoDirectoryAnyMore(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	require.NoError(t, unix.Mkfifo(filepath.Join(from, "pipe"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(from, "file"), nil, 0o600))
	source, err := os.OpenRoot(from)
	require.NoError(t, err)
	defer source.Close()
	target, err := os.OpenRoot(to)
	require.NoError(t, err)
	defer target.Close()
	copier := &treeCopier{ctx: t.Context(), top: target}
	for _, name := range []string{"pipe", "file", "gone"} {
		copied := make(chan error, 1)
		go func() { copied <- copier.copySubDir(source, target, name, name) }()
		select {
		case err := <-copied:
			assert.NoError(t, err, name)
		case <-time.After(patience):
			require.FailNow(t, "the copy hangs", name)
		}
	}
	entries, err := os.ReadDir(to)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

func TestCopyKeepsOwnersAndTimes(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Isolated})
	spec := container.Spec{Mounts: []container.Mount{{Volume: "v", Path: "/v"}}}
	sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
	c := startContainer(t, sb, spec)
	sh(t, c, `cd /v && mkdir dir && touch dir/file && ln -s dir link && mkfifo pipe &&
		chown -h 12:34 dir dir/file link pipe && touch -h -d @1000000000 link pipe dir/file dir`)
	restored := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v", Restore: archiveOf(t, sb, "v")}}})
	again := startContainer(t, restored, spec)
	const seen = `cd /v && stat -c '%n %u:%g %Y %a' dir dir/file link pipe`
	assert.Equal(t, sh(t, c, seen), sh(t, again, seen))
}

func TestCopyKeepsAttributes(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(from, "file"), nil, 0o600))
	for _, name := range []string{"", "file"} {
		err := unix.Setxattr(filepath.Join(from, name), "user.note", []byte("kept "+name), 0)
		if err == unix.ENOTSUP {
			t.Skip("this file system has no attributes")
		}
		require.NoError(t, err)
	}
	_, err := copyTree(t.Context(), copying{From: from, To: to})
	require.NoError(t, err)
	for _, name := range []string{"", "file"} {
		value := make([]byte, 64)
		n, err := unix.Getxattr(filepath.Join(to, name), "user.note", value)
		require.NoError(t, err)
		assert.Equal(t, "kept "+name, string(value[:n]))
	}
}
