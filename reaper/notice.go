//go:build unix

package reaper

import (
	"context"
	"log/slog"
	"slices"
)

// notice is something to be logged once the mutex is free: a logger may call anything.
type notice struct {
	logger *slog.Logger
	level  slog.Level
	text   string
	err    error
}

// note keeps something to be told to every client that has sandboxes.
func (g *guard) note(level slog.Level, text string, err error) {
	var loggers []*slog.Logger
	for c := range g.connections {
		if !slices.Contains(loggers, c.Logger) {
			loggers = append(loggers, c.Logger)
			g.notices = append(g.notices, notice{c.Logger, level, text, err})
		}
	}
}

// unlock gives the mutex back and logs what was noted.
func (g *guard) unlock() {
	notices := g.notices
	g.notices = nil
	g.mu.Unlock()
	for _, n := range notices {
		var attrs []any
		if n.err != nil {
			attrs = append(attrs, "error", n.err)
		}
		n.logger.Log(context.Background(), n.level, n.text, attrs...)
	}
}
