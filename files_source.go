package cwsandbox

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
)

// feed runs a command with r as its input, reads r on the caller's goroutine, and returns when nothing of it is left.
func (s *shared) feed(ctx context.Context, c call, cfg *execConfig, src *source) (*Result, error) {
	cfg.stdinPipe = true
	p, receive, err := s.open(ctx, c, cfg, nil)
	if err != nil {
		return nil, err
	}
	var receiving sync.WaitGroup
	receiving.Go(receive)
	if err := p.stdin.feed(src); err != nil {
		p.cancel(err)
	}
	receiving.Wait()
	res, err := p.outcome()
	if src.err != nil {
		return nil, c.refuse("read the content: "+src.err.Error(), src.err)
	}
	return res, err
}

// source counts what comes from a reader, ends where its length does, and keeps the reader's error.
type source struct {
	r     io.Reader
	file  *fileConfig
	left  int64 // below zero: unknown
	begun bool  // there is a command that takes input
	n     int64
	err   error // not io.EOF
}

func (s *source) Read(p []byte) (int, error) {
	s.begun = true
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.left > 0 {
		p = p[:min(int64(len(p)), s.left)]
	}
	n, err := s.r.Read(p)
	if n > 0 {
		s.n += int64(n)
		s.left = max(s.left-int64(n), min(s.left, 0))
		s.file.report(s.n)
	}
	switch {
	case err == io.EOF && s.left > 0:
		err = io.ErrUnexpectedEOF
	case s.left == 0:
		return n, nil
	}
	if err != io.EOF {
		s.err = err
	}
	return n, err
}

// lengthOf returns how many bytes are to be taken from a reader, where that is known.
func (c *fileConfig) lengthOf(r io.Reader) (int64, bool) {
	if c.given.has(useLength) {
		return c.length, true
	}
	switch r := r.(type) {
	case *bytes.Buffer:
		return int64(r.Len()), true
	case *bytes.Reader:
		return int64(r.Len()), true
	case *strings.Reader:
		return int64(r.Len()), true
	case *os.File:
		return restOf(r)
	}
	return 0, false
}

// restOf is what a regular file has from where it will be read.
func restOf(f *os.File) (int64, bool) {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 { // those of /proc have no size either
		return 0, false
	}
	at, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, false
	}
	return max(info.Size()-at, 0), true
}
