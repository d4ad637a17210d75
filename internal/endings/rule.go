package endings

// impossible says why there is no such cell; nothing: there is one.
func (c Cell) impossible() string {
	switch {
	case c.Ending == Goexits && c.Setting != InMain:
		return "elsewhere the goroutines of the SDK go on, and so does the program"
	case c.Ending == TimedOut && c.Setting == FirstProcess:
		return "the first process would be timeout"
	case c.Ending == BrokenPipe && c.Setting == OnTerminal:
		return "a terminal that is closed sends SIGHUP"
	}
	return ""
}

// survives reports whether the ending does not end the program: it was started with the signal ignored.
func (c Cell) survives() bool {
	return c.Setting == Background && (c.Ending == Interrupted || c.Ending == InterruptedTwice || c.Ending == HungUp)
}

// forced reports whether the second signal ends the program in the middle of its cleanup. Who has a NotifyContext that goes
// on is not touched by it.
func (c Cell) forced() bool {
	return c.Ending == InterruptedTwice && !c.survives() && c.Setting != ContextDeferred && c.Setting != OwnCleanup
}

// covered reports whether the program stops its sandboxes itself.
func (c Cell) covered() bool {
	switch c.Ending {
	case Exits, Goexits:
		return true
	case Returns, Panics, NilDereference:
		return c.Setting == InMain || c.Setting == OwnCleanup
	case Interrupted, Terminated, HungUp, TimedOut, InterruptedTwice:
		return !c.survives() && !c.forced()
	}
	return false
}

// needsHelp reports whether reaper and lease make a difference.
func (c Cell) needsHelp() bool { return !c.covered() && !c.survives() }

// left is how many sandboxes remain that nobody has begun to stop.
func (c Cell) left() (least, most int) {
	switch {
	case c.survives():
		return 1, 1
	case c.covered(), c.Help == WithLease:
		return 0, 0
	case c.Help == WithReaper && c.Setting == FirstProcess:
		return 0, 1 // its helper dies with the namespace, a moment later
	case c.Help == WithReaper:
		return 0, 0
	}
	return 1, 1
}

// sandboxes is how many the program has when it ends.
func (c Cell) sandboxes() int {
	if c.Phase == Stopping {
		return 2
	}
	return 1
}
