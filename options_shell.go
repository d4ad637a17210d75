package cwsandbox

import (
	"math"
	"slices"
)

// defaultShell is what runs in a terminal when nobody says.
const defaultShell = "/bin/bash"

// maxTermSize is the largest number of columns or rows that a terminal can have.
const maxTermSize = math.MaxUint16

// ShellOption is an option of [Sandbox.Shell].
type ShellOption interface{ applyShell(*execConfig) }

// termSize is the size of a terminal; zero leaves it to the service.
type termSize struct{ cols, rows uint32 }

func newTermSize(f *faults, cols, rows int) termSize {
	for _, d := range []struct {
		field string
		n     int
	}{{"columns", cols}, {"rows", rows}} {
		if d.n < 1 || d.n > maxTermSize {
			f.add(d.field, "must be from 1 to %d, is %d", maxTermSize, d.n)
		}
	}
	return termSize{uint32(cols), uint32(rows)}
}

func newShellConfig(c call, argv []string, opts []ShellOption) (*execConfig, error) {
	if argv == nil {
		argv = []string{defaultShell}
	}
	cfg := &execConfig{argv: slices.Clone(argv), stdinPipe: true, terminal: new(termSize)}
	cfg.checkArgv()
	applyAll(&cfg.faults, opts, func(o ShellOption) { o.applyShell(cfg) })
	return cfg, cfg.faults.err(c)
}

type sizeOption struct{ cols, rows int }

// WithSize sets the size that a terminal has at first; the service decides by default. See [Terminal.Resize] for later.
func WithSize(cols, rows int) ShellOption { return sizeOption{cols, rows} }

func (o sizeOption) applyShell(c *execConfig) {
	*c.terminal = newTermSize(&c.faults, o.cols, o.rows)
}

func (o sizeOption) String() string { return printed("WithSize", o.cols, o.rows) }
