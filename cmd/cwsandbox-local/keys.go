package main

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
)

// readKeys collects the keys of both sources. None at all is no error.
func readKeys(list, file string) ([]localserver.Key, error) {
	var keys []localserver.Key
	if list != "" {
		for _, token := range strings.Split(list, ",") {
			key, err := parseKey(token)
			if err != nil {
				return nil, fmt.Errorf("-keys: %w", err)
			}
			keys = append(keys, key)
		}
	}
	if file == "" {
		return keys, nil
	}
	more, err := readKeyFile(file)
	if err != nil {
		return nil, fmt.Errorf("-key-file: %w", err)
	}
	return append(keys, more...), nil
}

// readKeyFile reads a key per line; empty lines and those that begin with # are skipped.
func readKeyFile(file string) ([]localserver.Key, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var keys []localserver.Key
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		keys = append(keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in the file")
	}
	return keys, nil
}

// parseKey reads a key and its attributes. A key is an administrator's unless it says otherwise.
func parseKey(text string) (localserver.Key, error) {
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return localserver.Key{}, errors.New("empty key")
	}
	key := localserver.Key{Token: fields[0], Admin: true}
	for i, field := range fields[1:] {
		name, value, _ := strings.Cut(field, "=")
		var err error
		switch name {
		case "user":
			key.User = value
		case "organization":
			key.Organization = value
		case "admin":
			key.Admin, err = strconv.ParseBool(value)
		default:
			err = errors.New("unknown attribute")
		}
		if err != nil || value == "" {
			return localserver.Key{}, fmt.Errorf("attribute %d is not user=NAME, organization=NAME or admin=false", i+1)
		}
	}
	return key, nil
}

// developmentKey is a key to use where any key is accepted. It protects nothing.
func developmentKey() string { return "local-" + rand.Text() }
