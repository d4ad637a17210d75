package cwsandbox

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// kept returns an output that keeps up to limit bytes.
func kept(limit int64) *output {
	var o output
	o.init("standard output", nil, limit)
	return &o
}

func (o *output) follow() *bufferReader { return &bufferReader{b: &o.kept} }

func TestOutputReaderIsAReader(t *testing.T) {
	for _, frames := range [][]string{nil, {"a"}, {"first", " second ", "third"}} {
		o := kept(1 << 20)
		var whole string
		for _, frame := range frames {
			whole += frame
			require.NoError(t, o.take([]byte(frame)))
		}
		o.kept.close(nil)
		assert.NoError(t, iotest.TestReader(o.follow(), []byte(whole)))
	}
}

func TestOutputKeepsALargeFrameWithoutACopy(t *testing.T) {
	o := kept(1 << 20)
	frame := make([]byte, 32<<10)
	require.NoError(t, o.take(frame))
	o.kept.close(nil)
	assert.Same(t, &frame[0], &o.kept.bytes()[0])
}

func TestOutputGathersSmallFrames(t *testing.T) {
	o := kept(1 << 20)
	for range 64 << 10 {
		require.NoError(t, o.take([]byte{'x'}))
	}
	chunks := 0
	for c := o.kept.head; c != nil; c = c.next {
		chunks++
	}
	assert.LessOrEqual(t, chunks, 64<<10/gatherBlock+1)
	o.kept.close(nil)
	assert.Equal(t, bytes.Repeat([]byte{'x'}, 64<<10), o.kept.bytes())
}

func TestOutputLimit(t *testing.T) {
	for _, row := range []struct {
		name   string
		limit  int64
		frames []string
		want   string
		cut    bool
	}{
		{"nothing printed", 3, nil, "", false},
		{"below", 10, []string{"abc", "def"}, "abcdef", false},
		{"exactly", 6, []string{"abc", "def"}, "abcdef", false},
		{"inside a frame", 4, []string{"abc", "def"}, "abcd", true},
		{"between frames", 3, []string{"abc", "def", "ghi"}, "abc", true},
		{"keep nothing", 0, []string{"abc"}, "", true},
	} {
		t.Run(row.name, func(t *testing.T) {
			o := kept(row.limit)
			size := 0
			for _, frame := range row.frames {
				size += len(frame)
				require.NoError(t, o.take([]byte(frame)))
			}
			o.kept.close(nil)
			got, err := read(o.follow())
			assert.Equal(t, row.want, got)
			assert.Equal(t, row.cut, errors.Is(err, ErrTruncated), "error: %v", err)

			var res Result
			o.report(&res.Stdout, &res.StdoutSize, &res.truncated)
			assert.Equal(t, row.want, string(res.Stdout))
			assert.Equal(t, int64(size), res.StdoutSize)
			assert.Equal(t, row.cut, res.Truncated())
		})
	}
}

func TestOutputReaderSeesTheCutBeforeTheEnd(t *testing.T) {
	o := kept(2)
	require.NoError(t, o.take([]byte("abc")))
	got, err := read(o.follow())
	assert.Equal(t, "ab", got)
	assert.ErrorIs(t, err, ErrTruncated)
}

func TestOutputReaderGetsTheFailureInsteadOfTheEnd(t *testing.T) {
	o, failure := kept(10), errors.New("lost")
	require.NoError(t, o.take([]byte("abc")))
	o.kept.close(failure)
	r := o.follow()
	got, err := read(r)
	assert.Equal(t, "abc", got)
	assert.Equal(t, failure, err)
	_, err = r.Read(make([]byte, 1))
	assert.Equal(t, failure, err, "the error stays")
}

func TestOutputReaderGoesOnWhileTheResultIsTaken(t *testing.T) {
	o := kept(1 << 20)
	var whole []byte
	for i := range 3 {
		frame := bytes.Repeat([]byte{byte('a' + i)}, 2*smallFrame)
		whole = append(whole, frame...)
		require.NoError(t, o.take(frame))
	}
	r := o.follow()
	start := make([]byte, 10)
	_, err := io.ReadFull(r, start)
	require.NoError(t, err)
	o.kept.close(nil)
	assert.Equal(t, whole, o.kept.bytes())
	rest, err := read(r)
	require.NoError(t, err)
	assert.Equal(t, string(whole), string(start)+rest)
}

func TestOutputWriter(t *testing.T) {
	var got bytes.Buffer
	var o output
	o.init("standard output", &got, 1)
	require.NoError(t, o.take([]byte("abc")))
	require.NoError(t, o.take([]byte("def")))
	assert.Equal(t, "abcdef", got.String())
	var res Result
	o.report(&res.Stdout, &res.StdoutSize, &res.truncated)
	assert.Nil(t, res.Stdout)
	assert.Equal(t, int64(6), res.StdoutSize)
	assert.False(t, res.Truncated())

	full := errors.New("disk full")
	o.w = failingWriter{full}
	assert.ErrorIs(t, o.take([]byte("x")), full)
	o.w = failingWriter{nil}
	assert.ErrorIs(t, o.take([]byte("x")), io.ErrShortWrite)
}

// failingWriter writes nothing.
type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// FuzzOutput prints data in frames of random sizes while readers follow at random paces.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("hello, world"), uint64(1), uint16(5))
	f.Add(bytes.Repeat([]byte("0123456789"), 2000), uint64(2), uint16(65535))
	f.Add([]byte(nil), uint64(3), uint16(0))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, limit uint16) {
		o := kept(int64(limit))
		want := data[:min(len(data), int(limit))]
		var readers sync.WaitGroup
		for i := range uint64(3) {
			readers.Go(func() {
				got, err := pacedRead(o.follow(), rand.New(rand.NewPCG(seed, i)))
				if !bytes.Equal(got, want) {
					t.Errorf("reader %d got %d bytes that differ from the %d kept", i, len(got), len(want))
				}
				if cut := len(want) < len(data); cut != errors.Is(err, ErrTruncated) || !cut && err != io.EOF {
					t.Errorf("reader %d ended with %v", i, err)
				}
			})
		}
		pace := rand.New(rand.NewPCG(seed, 99))
		for rest := data; len(rest) > 0; {
			n := 1 + pace.IntN(min(len(rest), 3*smallFrame))
			if err := o.take(bytes.Clone(rest[:n])); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		o.kept.close(nil)
		if got := o.kept.bytes(); !bytes.Equal(got, want) {
			t.Errorf("result has %d bytes that differ from the %d kept", len(got), len(want))
		}
		readers.Wait()
	})
}

// pacedRead reads in pieces of random sizes.
func pacedRead(r io.Reader, pace *rand.Rand) ([]byte, error) {
	var got []byte
	for {
		p := make([]byte, 1+pace.IntN(2*smallFrame))
		n, err := r.Read(p)
		got = append(got, p[:n]...)
		if err != nil {
			return got, err
		}
	}
}
