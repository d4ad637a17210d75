package process

import "testing"

// withoutNamespaces does nothing: there are none.
func withoutNamespaces(*testing.T) {}

// systemAllows tells that plain is all there is.
func systemAllows(level string) bool { return level == Plain }
