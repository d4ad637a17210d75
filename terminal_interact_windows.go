package cwsandbox

import (
	"errors"
	"fmt"
	"os"
)

// A console cannot be waited for in a way that can be given up, which a session needs when it ends.
var errNoConsole = fmt.Errorf("consoles of Windows are not supported: %w", errors.ErrUnsupported)

func notifyResize(chan<- os.Signal) {}

func makeRaw(*os.File) (*userTerminal, error) { return nil, errNoConsole }

func (t *userTerminal) size() (cols, rows int, err error) { return 0, 0, errNoConsole }

func (t *userTerminal) await() (typed bool, err error) { return false, errNoConsole }
