package localserver

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// StreamLogs shows what the main process of a container prints.
func (s *sandboxService) StreamLogs(req *sandboxv1.StreamLogsRequest, stream grpc.ServerStreamingServer[sandboxv1.LogEntry]) error {
	if err := checkLogs(req); err != nil {
		return err
	}
	ctx, cancel := s.bind(stream.Context())
	defer cancel(nil)
	c, _, _, err := s.lookUp(ctx, req.GetSandboxId(), req.GetContainer())
	if err != nil {
		return err
	}
	if req.GetResumeLogSessionId() == "" {
		return s.showLog(ctx, c.log.open(callerOf(ctx), req), stream)
	}
	cursor, fault := c.log.resume(callerOf(ctx), req.GetResumeLogSessionId(), req.GetResumeLogOffset())
	if fault != "" {
		return sendLogError(stream, fault)
	}
	return s.showLog(ctx, cursor, stream)
}

func checkLogs(req *sandboxv1.StreamLogsRequest) error {
	var c checker
	c.require(req.GetSandboxId() != "", "sandbox_id", "must not be empty")
	c.require(req.GetTailLines() >= 0, "tail_lines", "must not be negative")
	const field = "resume_log_session_id"
	if req.GetResumeLogSessionId() == "" {
		c.require(req.GetResumeLogOffset() == 0, field, "must be set for an offset")
		return c.err()
	}
	fresh := req.GetTailLines() != 0 || req.GetSinceTime() != nil || req.GetTimestamps()
	c.require(req.GetFollow(), field, "needs follow")
	c.require(!fresh, field, "must not be set together with tail_lines, since_time or timestamps")
	return c.err()
}

// showLog sends the session from the cursor on, to its end.
func (s *Server) showLog(ctx context.Context, c *logCursor, stream grpc.ServerStreamingServer[sandboxv1.LogEntry]) error {
	defer c.close()
	for {
		p := c.read()
		switch {
		case len(p.data) > 0:
			err := stream.Send(&sandboxv1.LogEntry{
				Data:          p.data,
				Timestamp:     timestamppb.New(p.at),
				LogSessionId:  c.session.id,
				NextLogOffset: uint64(c.next),
			})
			if err != nil {
				return err
			}
		case p.lost:
			return sendLogError(stream, "REPLAY_GAP")
		case p.done:
			return nil
		default:
			select {
			case <-p.changed:
			case <-ctx.Done():
				return endOf(ctx)
			}
		}
	}
}

var logErrorTexts = map[string]string{
	"SESSION_NOT_FOUND":     "the log session is unknown or has expired",
	"INVALID_RESUME_OFFSET": "the offset is beyond what the log session has produced",
	"REPLAY_GAP":            "the log at the offset is no longer kept",
}

// sendLogError ends a stream with an error frame.
func sendLogError(stream grpc.ServerStreamingServer[sandboxv1.LogEntry], code string) error {
	return stream.Send(&sandboxv1.LogEntry{Error: &sandboxv1.LogStreamError{Code: code, Message: logErrorTexts[code]}})
}
