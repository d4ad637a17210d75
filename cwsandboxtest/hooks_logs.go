package cwsandboxtest

// AppendLog adds to the log of the target, as if the main process of its primary container had printed it.
func (s *Server) AppendLog(target string, p []byte) { s.core.AppendLog(target, p) }

// DropLogReplay makes the target's log sessions forget what they have shown: who resumes one further back than that gets
// the error REPLAY_GAP in the stream. Streams that are open go on.
func (s *Server) DropLogReplay(target string) { s.core.DropLogReplay(target) }

// ExpireLogSessions ends the target's log sessions: who resumes one gets the error SESSION_NOT_FOUND in the stream.
// Streams that are open go on.
func (s *Server) ExpireLogSessions(target string) { s.core.ExpireLogSessions(target) }
