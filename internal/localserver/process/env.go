//go:build linux || darwin

package process

import (
	"cmp"
	"maps"
	"os"
	"slices"
	"strings"
)

const (
	defaultPath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultTerm  = "xterm-256color"
	sandboxHome  = "/root"
	hostRootPath = "/"
)

// baseEnv is what every process of a sandbox starts from. Nothing else of the server's own environment gets in: that
// is where its credentials are.
func baseEnv(hostname string, imagePath []string) map[string]string {
	path := cmp.Or(os.Getenv("PATH"), defaultPath)
	env := map[string]string{
		"PATH":     strings.Join(append(slices.Clone(imagePath), path), ":"),
		"HOME":     sandboxHome,
		"HOSTNAME": hostname,
	}
	if lang := os.Getenv("LANG"); lang != "" {
		env["LANG"] = lang
	}
	return env
}

// mergeEnv returns base with the entries of over on top.
func mergeEnv(base, over map[string]string) map[string]string {
	merged := maps.Clone(base)
	maps.Copy(merged, over)
	return merged
}

// environ renders env in the form that the system wants, sorted.
func environ(env map[string]string) []string {
	list := make([]string, 0, len(env))
	for key, value := range env {
		list = append(list, key+"="+value)
	}
	slices.Sort(list)
	return list
}
