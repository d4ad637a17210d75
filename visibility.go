package cwsandbox

import (
	"fmt"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Visibility says who can reach a port of a sandbox. The numbers are the service's own; one that this version does not
// know keeps its number.
type Visibility int32

// The visibilities of a port.
const (
	VisibilityUnspecified Visibility = Visibility(sandboxv1.Visibility_VISIBILITY_UNSPECIFIED) // nobody outside of the sandbox
	VisibilityPublic      Visibility = Visibility(sandboxv1.Visibility_VISIBILITY_PUBLIC)      // the internet
	VisibilityPrivate     Visibility = Visibility(sandboxv1.Visibility_VISIBILITY_PRIVATE)     // workloads of the same organization
	VisibilityCustom      Visibility = Visibility(sandboxv1.Visibility_VISIBILITY_CUSTOM)      // the sources that the sandbox names
)

// String returns the visibility's name in lower case, or Visibility(42) for a number that this version does not know.
func (v Visibility) String() string {
	switch v {
	case VisibilityUnspecified:
		return "unspecified"
	case VisibilityPublic:
		return "public"
	case VisibilityPrivate:
		return "private"
	case VisibilityCustom:
		return "custom"
	}
	return fmt.Sprintf("Visibility(%d)", int32(v))
}
