package cwsandbox

import (
	"bytes"
	"fmt"
	"io"
)

const (
	frameBlock = 64 << 10
	frameSize  = 16 * frameBlock // a process of the script each
)

// receiveFrames is a function for scripts: it prints what a frameWriter has written, and returns at its end without waiting
// for that of the input, which is not delivered reliably. The head of some images takes more than it is asked for, and the dd
// of some cannot fill its blocks, so that it goes byte by byte.
const receiveFrames = `blocks() { dd bs=65536 count="$1" iflag=fullblock; }
blocks 0 </dev/null >/dev/null 2>&1 || blocks() { dd ibs=1 obs=65536 count="$(($1 * 65536))"; }
frames() {
	while read -r n && [ "$n" -gt 0 ]; do
		blocks "$n" 2>/dev/null || return
	done
}
`

// frameWriter writes frames for receiveFrames: a line with a number of blocks, and the blocks. Without Close there is no last
// one, which has no blocks.
type frameWriter struct {
	w    io.Writer
	held bytes.Buffer
}

func (f *frameWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), frameSize-f.held.Len())]
		f.held.Write(part)
		n, p = n+len(part), p[len(part):]
		if f.held.Len() == frameSize {
			err = f.flush()
		}
	}
	return n, err
}

func (f *frameWriter) flush() error {
	if _, err := fmt.Fprintf(f.w, "%d\n", f.held.Len()/frameBlock); err != nil {
		return err
	}
	_, err := f.held.WriteTo(f.w)
	return err
}

// Close fills the last block up with zeros, which an archive may end with, and writes the end.
func (f *frameWriter) Close() error {
	if rest := f.held.Len() % frameBlock; rest > 0 {
		f.held.Write(make([]byte, frameBlock-rest))
	}
	if f.held.Len() > 0 {
		if err := f.flush(); err != nil {
			return err
		}
	}
	return f.flush()
}
