package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
)

func TestSecretFiles(t *testing.T) {
	write := func(text string) string {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		return file
	}
	c, err := parse([]string{
		"-secrets-file", write(`{"team": {"token": "v", "db": {"user": "u", "password": "p"}}, "other": {}}`),
		"-object-storage-env-file", write("# keys\n\nAWS_ACCESS_KEY_ID=id\n AWS_SECRET_ACCESS_KEY=a=b\n"),
		"-runtime-classes", "kata,gvisor", "-instance-types", "big",
	}, os.Stderr)
	require.NoError(t, err)
	assert.Equal(t, []localserver.Secret{
		{Store: "team", Name: "db", Field: "password", Value: "p"},
		{Store: "team", Name: "db", Field: "user", Value: "u"},
		{Store: "team", Name: "token", Value: "v"},
	}, c.secrets)
	assert.Equal(t, map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "a=b"}, c.objectStorageEnv)
	assert.Equal(t, []string{"kata", "gvisor"}, c.runtimeClasses)
	assert.Equal(t, []string{"big"}, c.instanceTypes)

	for _, args := range [][]string{
		{"-secrets-file", write(`{"team": "a-secret"}`)},
		{"-secrets-file", write(`{"team": {"token": ["a-secret"]}}`)},
		{"-secrets-file", write(`a-secret`)},
		{"-secrets-file", "/no/such/file"},
		{"-object-storage-env-file", write("A=1\na-secret\n")},
		{"-object-storage-env-file", write("=a-secret\n")},
		{"-object-storage-env-file", "/no/such/file"},
	} {
		_, err := parse(args, os.Stderr)
		require.ErrorContains(t, err, args[0])
		assert.NotContains(t, err.Error(), "a-secret")
	}
}
