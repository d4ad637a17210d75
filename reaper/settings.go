//go:build unix

package reaper

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Variables that the user may set.
const (
	logVariable     = "CWSANDBOX_REAPER_LOG"
	timeoutVariable = "CWSANDBOX_REAPER_TIMEOUT"
)

const defaultTimeout = 5 * time.Minute

// readTimeout reads how long the helper may try.
func readTimeout() (time.Duration, error) {
	text := strings.TrimSpace(os.Getenv(timeoutVariable))
	if text == "" {
		return defaultTimeout, nil
	}
	d, err := time.ParseDuration(text)
	if n, atoiErr := strconv.ParseInt(text, 10, 32); atoiErr == nil {
		d, err = time.Duration(n)*time.Second, nil
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s must be a duration such as 90s or whole seconds, above zero, is %q", timeoutVariable, text)
	}
	return d, nil
}

// openLog opens the file that becomes the helper's standard error.
func openLog() (*os.File, error) {
	name := os.Getenv(logVariable)
	if name == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", logVariable, err)
	}
	return f, nil
}

// The helper gets no other variables of the program, which may well hold secrets.
var (
	// loaderVariables are needed before the helper can be told anything.
	loaderVariables = []string{"GODEBUG", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FRAMEWORK_PATH"}
	// networkVariables go over the pipe: a proxy's address may hold a password.
	networkVariables = []string{
		"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
	}
)

// environ returns those variables that are set, as in os.Environ.
func environ(names []string) []string {
	var pairs []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			pairs = append(pairs, name+"="+value)
		}
	}
	return pairs
}
