package cwsandbox

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// logDialog is the service's side of one log stream.
type logDialog struct {
	stream  sandboxv1.SandboxService_StreamLogsServer
	request *sandboxv1.StreamLogsRequest
	n       int // counts the streams from 1
}

func (s *script) StreamLogs(req *sandboxv1.StreamLogsRequest, stream sandboxv1.SandboxService_StreamLogsServer) error {
	if s.logs == nil {
		return s.UnimplementedSandboxServiceServer.StreamLogs(req, stream)
	}
	return s.logs(&logDialog{stream: stream, request: req})
}

// show sends a frame of session s1 whose last byte is in front of an offset.
func (d *logDialog) show(data string, next uint64) error {
	return d.stream.Send(&sandboxv1.LogEntry{
		Data: []byte(data), Timestamp: timestamppb.Now(), LogSessionId: "s1", NextLogOffset: next,
	})
}

func (d *logDialog) fail(code string) error {
	return d.stream.Send(&sandboxv1.LogEntry{Error: &sandboxv1.LogStreamError{Code: code, Message: "made by the test"}})
}

// hang waits until the client is gone.
func (d *logDialog) hang() error {
	<-d.stream.Context().Done()
	return d.stream.Context().Err()
}

// logBook answers log streams, one function after the other, of which the last one stays, and records the requests.
type logBook struct {
	mu       sync.Mutex
	requests []*sandboxv1.StreamLogsRequest
	times    []time.Time
}

func (s *script) answerLogs(answers ...func(d *logDialog) error) *logBook {
	b := &logBook{}
	s.logs = func(d *logDialog) error {
		b.mu.Lock()
		b.requests = append(b.requests, d.request)
		b.times = append(b.times, time.Now())
		d.n = len(b.requests)
		b.mu.Unlock()
		return answers[min(d.n, len(answers))-1](d)
	}
	return b
}

// seen are the requests so far.
func (b *logBook) seen() []*sandboxv1.StreamLogsRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests
}

// gaps are the times between the requests.
func (b *logBook) gaps() []time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	var gaps []time.Duration
	for i := 1; i < len(b.times); i++ {
		gaps = append(gaps, b.times[i].Sub(b.times[i-1]))
	}
	return gaps
}

// logText reads a log by bytes.
func logText(t *testing.T, sb *Sandbox, opts ...LogOption) (string, error) {
	t.Helper()
	r, err := sb.OpenLogs(t.Context(), opts...)
	if err != nil {
		return "", err
	}
	defer r.Close()
	text, err := read(r)
	return text, err
}

// logLines reads a log by lines.
func logLines(t *testing.T, sb *Sandbox, opts ...LogOption) (lines []LogLine, err error) {
	t.Helper()
	for line, e := range sb.Logs(t.Context(), opts...) {
		require.NoError(t, err, "the error is the last")
		if e != nil {
			require.Zero(t, line)
			err = e
			continue
		}
		lines = append(lines, line)
	}
	return lines, err
}
