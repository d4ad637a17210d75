package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
)

func TestBadCommandLinesAreRefused(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(empty, []byte("# nothing\n\n"), 0o600))
	bad := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(bad, []byte("good-secret\nbad-secret role=x\n"), 0o600))
	for _, row := range []struct {
		name string
		args []string
		text string
	}{
		{"argument", []string{"serve"}, "unexpected argument"},
		{"blank between keys", []string{"-keys", "a-secret,", "b-secret"}, "unexpected argument"},
		{"negative delay", []string{"-prepare-delay", "-1s"}, "-prepare-delay"},
		{"negative limit", []string{"-max-snapshots", "-1"}, "-max-snapshots"},
		{"flag", []string{"-port", "1"}, "-port"},
		{"listen without port", []string{"-listen", "127.0.0.1"}, "-listen"},
		{"isolation", []string{"-isolation", "total"}, `-isolation: unknown level "total"`},
		{"network", []string{"-network", "mine"}, `-network: must be host or private, is "mine"`},
		{"log level", []string{"-log-level", "loud"}, "log-level"},
		{"certificate without key", []string{"-tls-cert", "a.pem"}, "-tls-key"},
		{"claim without directory", []string{"-claim", "ns/name"}, "-claim: must be NAMESPACE/NAME=DIRECTORY"},
		{"claim without namespace", []string{"-claim", "name=dir"}, "-claim: must be"},
		{"empty key", []string{"-keys", "a-secret,,b-secret"}, "-keys: empty key"},
		{"attribute", []string{"-keys", "a-secret user="}, "-keys: attribute 1"},
		{"admin", []string{"-keys", "a-secret admin=perhaps"}, "-keys: attribute 1"},
		{"no key file", []string{"-key-file", filepath.Join(t.TempDir(), "none")}, "-key-file"},
		{"no key in file", []string{"-key-file", empty}, "no key"},
		{"line of file", []string{"-key-file", bad}, "-key-file: line 2: attribute 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			var stderr bytes.Buffer
			_, err := parse(row.args, &stderr)
			require.ErrorContains(t, err, row.text)
			for _, key := range []string{"a-secret", "b-secret", "good-secret", "bad-secret"} {
				assert.NotContains(t, err.Error()+stderr.String(), key)
			}
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestAddressesThatOthersReach(t *testing.T) {
	all := []string{"-tls", "-keys", "k", "-allow-remote"}
	t.Run("C-003", func(t *testing.T) {
		for _, address := range []string{":7643", "0.0.0.0:7643", "[::]:7643", "192.0.2.1:7643", "example.com:7643", "127.0.0.1.example.com:1"} {
			t.Run(address, func(t *testing.T) {
				for _, some := range [][]string{nil, all[:3], {"-tls", "-allow-remote"}, all[1:]} {
					_, err := parse(append([]string{"-listen", address}, some...), os.Stderr)
					require.ErrorContains(t, err, "-allow-remote", "%v", some)
				}
				_, err := parse(append([]string{"-listen", address}, all...), os.Stderr)
				require.NoError(t, err)
			})
		}
	})
	for _, address := range []string{"127.0.0.1:0", "127.8.9.10:0", "[::1]:0", "[::ffff:127.0.0.1]:0", "localhost:0", "LOCALHOST:0"} {
		_, err := parse([]string{"-listen", address}, os.Stderr)
		assert.NoError(t, err, address)
	}
}

func TestKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	text := "# people\n\n  k3 user=alice organization=acme admin=false\nk4\tuser=bob\n"
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	got, err := readKeys("k1,k2 admin=false", file)
	require.NoError(t, err)
	assert.Equal(t, []localserver.Key{
		{Token: "k1", Admin: true},
		{Token: "k2"},
		{Token: "k3", User: "alice", Organization: "acme"},
		{Token: "k4", User: "bob", Admin: true},
	}, got)
	none, err := readKeys("", "")
	require.NoError(t, err)
	assert.Empty(t, none)
}

func TestClaims(t *testing.T) {
	got, err := parse([]string{"-claim", "ns/data=/a=b", "-claim", "ns/other=."}, os.Stderr)
	require.NoError(t, err)
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	assert.Equal(t, []localserver.Claim{
		{Namespace: "ns", Name: "data", Dir: "/a=b"},
		{Namespace: "ns", Name: "other", Dir: here},
	}, got.claims)
}

func TestLimitsAndGates(t *testing.T) {
	c, err := parse(nil, os.Stderr)
	require.NoError(t, err)
	want := localserver.Options{StartupSettle: startupSettle, RuntimeClasses: []string{}, InstanceTypes: []string{}}
	assert.Equal(t, want, c.options())
	c, err = parse([]string{
		"-allow-remote", "-share-tokens=false", "-serverless=false", "-prepare-delay=3s", "-max-snapshots=1", "-max-snapshot-bytes=2", "-max-snapshots-in-flight=3",
	}, os.Stderr)
	require.NoError(t, err)
	want.OnlyListed, want.NoShareTokens, want.NoServerless, want.PrepareDelay = true, true, true, 3*time.Second
	want.MaxSnapshots, want.MaxSnapshotBytes, want.MaxSnapshotsInFlight = 1, 2, 3
	assert.Equal(t, want, c.options())
}

func TestHelpIsNoError(t *testing.T) {
	var stdout, stderr bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-help"}, &stdout, &stderr))
	assert.Contains(t, stderr.String(), "-ready-file")
	assert.Empty(t, stdout.String())
}

func TestQuote(t *testing.T) {
	for text, want := range map[string]string{
		"http://[::1]:7643": "http://[::1]:7643",
		"a b":               "'a b'",
		"$HOME":             "'$HOME'",
		"it's":              `'it'\''s'`,
		"":                  "",
	} {
		assert.Equal(t, want, quote(text))
	}
	assert.False(t, strings.ContainsAny(developmentKey(), " '\"$"))
}
