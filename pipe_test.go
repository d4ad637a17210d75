package cwsandbox

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPipeIsAReader(t *testing.T) {
	for _, content := range []string{"", "x", "something longer than one word"} {
		p := newPipe()
		_, err := io.WriteString(p, content)
		require.NoError(t, err)
		p.close(nil)
		assert.NoError(t, iotest.TestReader(p, []byte(content)))
	}
}

func TestPipeCarriesEverythingInOrder(t *testing.T) {
	data := make([]byte, 5*pipeSize+123)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	p := newPipe()
	written := Go(func() (n int, err error) {
		for rest := data; len(rest) > 0 && err == nil; {
			var part int
			part, err = p.Write(rest[:1+rand.IntN(len(rest))])
			n, rest = n+part, rest[part:]
		}
		p.close(nil)
		return n, err
	})
	got, err := pacedRead(p, rand.New(rand.NewPCG(1, 2)))
	assert.Equal(t, io.EOF, err)
	assert.True(t, bytes.Equal(data, got))
	n, err := written.Wait()
	require.NoError(t, err)
	assert.Equal(t, len(data), n)
}

// full is a pipe with a Write of some bytes more than it can hold.
func full(more int) (*pipe, *Future[int]) {
	p := newPipe()
	return p, Go(func() (int, error) { return p.Write(make([]byte, pipeSize+more)) })
}

func TestPipeEnds(t *testing.T) {
	lost := errors.New("lost")
	for _, row := range []struct {
		name    string
		end     func(p *pipe)
		written int
		err     error // of the Write
		left    int   // to be read
		after   error // of a Read after that; nil: it would wait
	}{
		{"at a full pipe a Write waits for a Read", func(p *pipe) { io.CopyN(io.Discard, p, 10) }, pipeSize + 10, nil, pipeSize, nil},
		{"a close", func(p *pipe) { p.close(nil) }, pipeSize, ErrClosed, pipeSize, io.EOF},
		{"a close with a failure", func(p *pipe) { p.close(lost); p.close(nil) }, pipeSize, ErrClosed, pipeSize, lost},
		{"a stop", func(p *pipe) { p.stop(errCut); p.stop(nil); p.close(lost) }, pipeSize, errCut, pipeSize, lost},
		{"nobody reads any more", func(p *pipe) { p.leave(); p.stop(errCut) }, pipeSize + 10, nil, 0, ErrClosed},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, write := full(10)
				synctest.Wait()
				row.end(p)
				n, err := write.Wait()
				assert.Equal(t, row.written, n)
				assert.Equal(t, row.err, err)
				assert.Equal(t, row.left, p.data.Len())
				if row.after != nil {
					rest, err := pacedRead(p, rand.New(rand.NewPCG(1, 2)))
					assert.Len(t, rest, row.left)
					assert.Equal(t, row.after, err)
				}
			})
		})
	}
}

func TestPipeReleasesAReader(t *testing.T) {
	for name, end := range map[string]func(p *pipe){
		"close": func(p *pipe) { p.close(nil) }, "leave": (*pipe).leave,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPipe()
				read := Go(func() (int, error) { return p.Read(make([]byte, 1)) })
				synctest.Wait()
				end(p)
				_, err := read.Wait()
				assert.Error(t, err)
			})
		})
	}
}

func TestPipeKeepsNoMemoryOfABurst(t *testing.T) {
	p := newPipe()
	p.Write(make([]byte, pipeSize))
	_, err := io.CopyN(io.Discard, p, pipeSize)
	require.NoError(t, err)
	assert.LessOrEqual(t, p.data.Cap(), pipeIdle)
}
