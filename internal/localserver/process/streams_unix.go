//go:build linux || darwin

package process

import (
	"io"
	"os"
	"sync"
	"time"
)

// An inputPipe is the writing end of a process's standard input.
type inputPipe struct{ f *os.File }

// Write reports success also for what nobody will read: a process may close its input or end whenever it likes.
func (i *inputPipe) Write(p []byte) (int, error) {
	_, _ = i.f.Write(p)
	return len(p), nil
}

func (i *inputPipe) Close() error {
	_ = i.f.Close() // fails only when it was closed before
	return nil
}

// An outputPipe is the reading end of one of a process's output streams.
type outputPipe struct{ f *os.File }

// Read reports every end as io.EOF, that of a stream which a kill interrupted as well.
func (o *outputPipe) Read(p []byte) (int, error) {
	n, err := o.f.Read(p)
	if err == nil {
		return n, nil
	}
	if err == io.EOF {
		o.f.Close() // a reader who has come to the end is the last to need it
	}
	return n, io.EOF
}

// streams are the server's ends of a process's standard streams.
type streams struct {
	stdin          *inputPipe // nil: /dev/null
	stdout, stderr *outputPipe
	terminal       *terminal // nil: pipes

	mu          sync.Mutex
	ended       bool // the process has
	interrupted bool
}

// newPipes makes the pipes of a process. The child's ends come in the order of its descriptors; without stdin there
// are only two of them.
func newPipes(stdin bool) (s *streams, child []*os.File, err error) {
	s = new(streams)
	defer func() {
		if err != nil {
			closeAll(child)
			s.close()
		}
	}()
	if stdin {
		r, w, err := os.Pipe()
		if err != nil {
			return s, child, err
		}
		s.stdin, child = &inputPipe{w}, append(child, r)
	}
	for _, out := range []**outputPipe{&s.stdout, &s.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return s, child, err
		}
		*out, child = &outputPipe{r}, append(child, w)
	}
	return s, child, nil
}

// files are the server's descriptors.
func (s *streams) files() []*os.File {
	var files []*os.File
	if s.terminal != nil {
		files = append(files, s.terminal.f)
	}
	if s.stdin != nil {
		files = append(files, s.stdin.f)
	}
	for _, out := range []*outputPipe{s.stdout, s.stderr} {
		if out != nil {
			files = append(files, out.f)
		}
	}
	return files
}

// close lets go of everything. Readers see the end.
func (s *streams) close() { closeAll(s.files()) }

// interrupt ends reading and writing at once. While the process still runs the descriptors stay, because it might
// die of a broken pipe or of the hang-up before it dies of the kill.
func (s *streams) interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupted = true
	if s.ended {
		s.close()
		return
	}
	for _, f := range s.files() {
		if f.SetDeadline(time.Unix(1, 0)) != nil {
			f.Close() // closed already, or of a kind that cannot be interrupted otherwise
		}
	}
}

// processEnded lets go of what is of no use without the process. Output stays readable.
func (s *streams) processEnded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	switch {
	case s.interrupted:
		s.close()
	case s.terminal != nil:
		s.terminal.processEnded()
	case s.stdin != nil:
		s.stdin.Close()
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
