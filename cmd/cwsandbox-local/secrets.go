package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
)

// readSecrets reads what is in the secret stores: {"store": {"name": "value", "other": {"field": "value"}}}. Errors show
// nothing of the file.
func readSecrets(file string) ([]localserver.Secret, error) {
	if file == "" {
		return nil, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var stores map[string]map[string]json.RawMessage
	if json.Unmarshal(text, &stores) != nil {
		return nil, errors.New("not an object of stores, each an object of secrets")
	}
	var secrets []localserver.Secret
	for _, store := range slices.Sorted(maps.Keys(stores)) {
		for _, name := range slices.Sorted(maps.Keys(stores[store])) {
			raw := stores[store][name]
			var value string
			if json.Unmarshal(raw, &value) == nil {
				secrets = append(secrets, localserver.Secret{Store: store, Name: name, Value: value})
				continue
			}
			var fields map[string]string
			if json.Unmarshal(raw, &fields) != nil {
				return nil, fmt.Errorf("secret %s/%s is neither a text nor an object of texts", store, name)
			}
			for _, field := range slices.Sorted(maps.Keys(fields)) {
				secrets = append(secrets, localserver.Secret{Store: store, Name: name, Field: field, Value: fields[field]})
			}
		}
	}
	return secrets, nil
}

// readEnv reads a variable per line, NAME=VALUE; empty lines and those that begin with # are skipped. Errors show no value.
func readEnv(file string) (map[string]string, error) {
	if file == "" {
		return nil, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	env := make(map[string]string)
	lines := bufio.NewScanner(f)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("line %d is not NAME=VALUE", number)
		}
		env[name] = value
	}
	return env, lines.Err()
}

// splitList splits a list of words at its commas.
func splitList(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}
