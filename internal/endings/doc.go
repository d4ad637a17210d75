// Package endings ends real programs in every way that programs end, and looks at what they leave behind. A cell of the
// matrix is an ending, the setting that the program lives in, the phase that its sandboxes are in, and what helps it: each
// is a process of its own against a local server of its own. Its exit status has to be that of a program without the
// SDK that ends in the same way, and the sandboxes that it leaves have to be those that rule.go tells.
//
//	go test ./internal/endings                  # all cells, but of those that wait for leases only some
//	go test ./internal/endings -matrix=full     # all cells, some minutes
//	go test ./internal/endings -update          # writes the table of the README anew
//
// The programs are built without the race detector, whose runtime ends in ways of its own. Leases run in real processes, so
// that the watchdog is the real one; everything else runs in scripted sandboxes.
package endings
