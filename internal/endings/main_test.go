//go:build linux

package endings

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
)

var (
	matrix = flag.String("matrix", "usual", "which cells: usual (with some of those that wait for leases) or full")
	update = flag.Bool("update", false, "write the table of the README")
)

// The programs that the tests end.
var withSDK, withoutSDK string

func TestMain(m *testing.M) {
	cwsandboxtest.Init() // sandboxes with leases are real processes
	code, err := runWithPrograms(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runWithPrograms(m *testing.M) (code int, err error) {
	flag.Parse()
	if *matrix != "usual" && *matrix != "full" {
		return 0, fmt.Errorf("there is no matrix %q", *matrix)
	}
	dir, err := os.MkdirTemp("", "endings")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", dir+"/", "./with", "./without").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	withSDK, withoutSDK = filepath.Join(dir, "with"), filepath.Join(dir, "without")
	signaltest.Defaults()
	return m.Run(), nil
}
