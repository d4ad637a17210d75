package cwsandbox

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// environment is what the environment says, read once for each client.
type environment struct {
	apiKey         string
	baseURL        string
	maxLifetime    *time.Duration
	cleanupTimeout time.Duration // zero: not set
	ignoreSignals  bool
	oddSignals     string // what the variable of that says, when nobody knows what it means
}

// processEnvironment is what the environment said when the process first needed it, for what is not a client's matter.
// Faults are reported where clients are made.
var processEnvironment = sync.OnceValue(func() environment { return readEnvironment(os.Getenv, &faults{}) })

// readEnvironment reads the variables. One that is set but cannot be read is a fault, never ignored, but for that of the
// signal hook, which is not a client's matter: whoever sets it wants none.
func readEnvironment(getenv func(string) string, f *faults) environment {
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	e := environment{apiKey: get("CWSANDBOX_API_KEY"), baseURL: get("CWSANDBOX_BASE_URL")}
	const lifetime = "CWSANDBOX_MAX_LIFETIME"
	if text := get(lifetime); text != "" {
		d, ok := parseSeconds(text)
		if !ok || d < 0 || d > maxSeconds*time.Second {
			f.add(lifetime, "must be a duration such as 90m, whole seconds such as 5400, or 0 for the platform's own, is %q", text)
		}
		e.maxLifetime = &d
	}
	const cleanup = "CWSANDBOX_CLEANUP_TIMEOUT"
	if text := get(cleanup); text != "" {
		d, ok := parseSeconds(text)
		if !ok || d <= 0 {
			f.add(cleanup, "must be a duration above zero such as 7s, or whole seconds such as 7, is %q", text)
		}
		e.cleanupTimeout = d
	}
	if text := get(signalsVariable); text != "" {
		off, err := strconv.ParseBool(text)
		e.ignoreSignals = off || err != nil
		if err != nil {
			e.oddSignals = text
		}
	}
	return e
}

const signalsVariable = "CWSANDBOX_DISABLE_SIGNAL_HANDLING"

// parseSeconds reads a Go duration or a number of whole seconds.
func parseSeconds(text string) (time.Duration, bool) {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil { // 32 bits: no overflow below
		return time.Duration(n) * time.Second, true
	}
	d, err := time.ParseDuration(text)
	return d, err == nil
}

// version is this module's version as the program was built with it, or "unknown".
var version = sync.OnceValue(func() string {
	const module = "github.com/cwsandbox/cwsandbox-go"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path == module && m.Version != "" && m.Version != "(devel)" {
			return m.Version
		}
	}
	return "unknown"
})
