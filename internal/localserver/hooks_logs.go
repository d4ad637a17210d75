package localserver

// AppendLog adds to the log of the target's primary container, as if its main process had printed it.
func (s *Server) AppendLog(target string, p []byte) {
	s.each(target, func(r *record) { _, _ = r.primary.log.Write(p) })
}

// DropLogReplay takes from the target's log sessions what they have shown: they can be resumed only where they are.
func (s *Server) DropLogReplay(target string) {
	s.eachLog(target, func(l *logStore) {
		for _, session := range l.sessions {
			session.forgotten = session.produced
		}
	})
}

// ExpireLogSessions makes the target's log sessions unknown. Streams that show one go on.
func (s *Server) ExpireLogSessions(target string) {
	s.eachLog(target, func(l *logStore) { clear(l.sessions) })
}

// eachLog calls f for the logs of all containers of the target, with their mutex held.
func (s *Server) eachLog(target string, f func(l *logStore)) {
	s.each(target, func(r *record) {
		for _, c := range r.containers {
			c.log.mu.Lock()
			f(c.log)
			c.log.mu.Unlock()
		}
	})
}
