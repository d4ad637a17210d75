package cwsandbox

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// netrcFiles are the places where the user's netrc file may be.
func netrcFiles(getenv func(string) string) []string {
	if name := getenv("NETRC"); name != "" {
		return []string{name}
	}
	home, names := getenv("HOME"), []string{".netrc"}
	if runtime.GOOS == "windows" {
		home, names = getenv("USERPROFILE"), []string{".netrc", "_netrc"}
	}
	if home == "" {
		return nil
	}
	for i, name := range names {
		names[i] = filepath.Join(home, name)
	}
	return names
}

// netrcPassword returns the password of the first of the machines that has one, from the first of the files that exists. Without
// any it is empty. The error says that a file cannot be read.
func netrcPassword(files []string, machines ...string) (string, error) {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		passwords := parseNetrc(string(text))
		i := slices.IndexFunc(machines, func(m string) bool { return passwords[m] != "" })
		if i < 0 {
			return "", nil
		}
		return passwords[machines[i]], nil
	}
	return "", nil
}

// parseNetrc returns the passwords by machine; of a machine that is there twice, the first. A # begins a comment wherever it
// stands, and a macro reaches to the next empty line.
func parseNetrc(text string) map[string]string {
	passwords := make(map[string]string)
	machine, key, macro := "", "", false
	for line := range strings.Lines(text) {
		if macro {
			macro = strings.TrimSpace(line) != ""
			continue
		}
		line, _, _ = strings.Cut(line, "#")
		for word := range strings.FieldsSeq(line) {
			switch key {
			case "machine":
				machine = word
			case "password":
				if machine != "" && passwords[machine] == "" {
					passwords[machine] = word
				}
			}
			switch {
			case key != "": // the word was its value
				key = ""
			case word == "default":
				machine = ""
			case word == "macdef":
				macro = true
			default:
				key = word
			}
			if macro {
				break // the rest of the line is the macro's name
			}
		}
	}
	return passwords
}
