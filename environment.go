package cwsandbox

import (
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"
)

// environment is what the environment says, read once for each client.
type environment struct {
	apiKey      string
	baseURL     string
	maxLifetime *time.Duration
}

// readEnvironment reads the variables. One that is set but cannot be read is a fault, never ignored.
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
	return e
}

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
