//go:build linux || darwin

package cwsandbox_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// cutter is a way to a server that breaks after some bytes, once each time it is told to.
type cutter struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	armed bool
	left  int
	conns map[net.Conn]bool
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c := &cutter{listener: l, server: server, conns: make(map[net.Conn]bool)}
	c.running.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		c.cut()
		c.running.Wait()
	})
	return c
}

// arm breaks all connections after n more bytes, in whatever direction.
func (c *cutter) arm(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed, c.left = true, n
}

func (c *cutter) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
}

func (c *cutter) accept() {
	for {
		from, err := c.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", c.server)
		if err != nil {
			from.Close()
			continue
		}
		c.mu.Lock()
		c.conns[from], c.conns[to] = true, true
		c.mu.Unlock()
		c.running.Go(func() { c.copy(to, from) })
		c.running.Go(func() { c.copy(from, to) })
	}
}

func (c *cutter) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 4<<10)
	for {
		n, err := from.Read(buffer)
		pass, cut := c.take(n)
		if _, werr := to.Write(buffer[:pass]); werr != nil || err != nil {
			return
		}
		if cut {
			c.cut()
		}
	}
}

// take returns how many of n bytes pass.
func (c *cutter) take(n int) (pass int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.armed {
		return n, false
	}
	pass = min(n, c.left)
	c.left -= pass
	if c.left == 0 {
		c.armed = false
		return pass, true
	}
	return pass, false
}

func (c *cutter) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		conn.Close()
	}
	clear(c.conns)
}

// TestCutAnywhere breaks the connection at a random byte of transfers of all kinds: exact content, or an error.
func TestCutAnywhere(t *testing.T) {
	const size, rounds = 300 << 10, 5
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	direct := w.run(t)
	cutter := newCutter(t, server.Address())
	client := server.Client(cwsandbox.WithBaseURL("http://" + cutter.listener.Addr().String()))
	sb, err := client.Attach(limited(t), direct.ID())
	require.NoError(t, err)
	dir := directory(t, direct)
	path := dir + "/file"
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	old, data := reproducible(random, size/2), reproducible(random, size)

	there := func(t *testing.T, path string) []byte {
		got, err := direct.ReadFile(limited(t), path)
		require.NoError(t, err)
		return got
	}
	upload := func(t *testing.T, r io.Reader) error {
		_, err := sb.Upload(limited(t), path, r)
		got := there(t, path)
		if err == nil {
			require.True(t, bytes.Equal(data, got), "%d bytes", len(got))
		} else {
			require.True(t, bytes.Equal(old, got) || bytes.Equal(data, got), "a part is visible, %d bytes", len(got))
		}
		assert.Eventually(t, func() bool {
			entries, err := direct.ReadDir(limited(t), dir)
			return assert.NoError(t, err) && len(entries) == 1
		}, patience, 10*time.Millisecond, "a temporary file is left")
		return err
	}
	same := func(t *testing.T, got []byte, err error) error {
		if err == nil {
			require.True(t, bytes.Equal(old, got), "%d bytes", len(got))
		}
		return err
	}
	failures := 0
	for name, move := range map[string]func(t *testing.T) error{
		"Upload, counted":   func(t *testing.T) error { return upload(t, bytes.NewReader(data)) },
		"Upload, uncounted": func(t *testing.T) error { return upload(t, struct{ io.Reader }{bytes.NewReader(data)}) },
		"WriteFile": func(t *testing.T) error {
			err := sb.WriteFile(limited(t), path, data)
			if err == nil {
				require.True(t, bytes.Equal(data, there(t, path)))
			}
			return err
		},
		"Download": func(t *testing.T) error {
			var got bytes.Buffer
			n, err := sb.Download(limited(t), path, &got)
			assert.EqualValues(t, got.Len(), n)
			require.True(t, bytes.HasPrefix(old, got.Bytes()))
			return same(t, got.Bytes(), err)
		},
		"ReadFile": func(t *testing.T) error {
			got, err := sb.ReadFile(limited(t), path)
			return same(t, got, err)
		},
		"UploadFS": func(t *testing.T) error {
			tree := fmt.Sprintf("%s-tree-%d", dir, random.Uint64())
			defer direct.RemoveAll(context.Background(), tree)
			err := sb.UploadFS(limited(t), tree, fstest.MapFS{"a": {Data: data[:size/2]}, "b/c": {Data: data[size/2:]}})
			if err == nil {
				require.True(t, bytes.Equal(data, append(there(t, tree+"/a"), there(t, tree+"/b/c")...)))
			}
			return err
		},
		"DownloadDir": func(t *testing.T) error {
			local := t.TempDir()
			err := sb.DownloadDir(limited(t), dir, local)
			got, readErr := os.ReadFile(filepath.Join(local, "file"))
			if readErr == nil {
				require.True(t, bytes.Equal(old, got), "no part of a file stays")
			} else {
				require.Error(t, err)
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			failed := 0
			for range rounds {
				require.NoError(t, direct.WriteFile(limited(t), path, old))
				at := 1 + random.IntN(size)
				cutter.arm(at)
				if err := move(t); err != nil {
					failed++
				}
				cutter.disarm()
			}
			t.Logf("%d of %d have failed", failed, rounds)
			failures += failed
		})
	}
	assert.Positive(t, failures, "nothing was cut")
	require.NoError(t, direct.RemoveAll(limited(t), dir))
}

// reproducible is content that can be made again.
func reproducible(r *rand.Rand, n int) []byte {
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	return data
}
