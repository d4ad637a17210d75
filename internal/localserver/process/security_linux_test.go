package process

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

func TestSecurity(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		t.Run("C-199 a read-only root", func(t *testing.T) {
			sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "data"}, {Name: "over"}}})
			c := startContainer(t, sb, container.Spec{
				WorkingDir: "/made/for/this",
				Files:      []container.File{{Path: "/srv/given", Content: []byte("given")}},
				Mounts:     []container.Mount{{Volume: "data", Path: "/data"}, {Volume: "over", Path: "/tmp"}},
				Security:   container.Security{ReadOnlyRoot: true},
			})
			for _, path := range []string{"/x", "/made/for/this/x", "/usr/x", "/etc/hostname", "/root/x", "/var/tmp/x", "/run/x", "/srv/given"} {
				assert.NotZero(t, shell(t, c, "echo x >"+path).code, path)
				requireFileError(t, c.WriteFile(t.Context(), path, nil, false), container.FilePermission, path)
			}
			assert.NotZero(t, shell(t, c, "mount -o remount,rw /").code)
			for _, path := range []string{"/data/x", "/tmp/x", "/dev/shm/x", "/dev/null"} {
				sh(t, c, "echo x >"+path)
			}
			require.NoError(t, c.WriteFile(t.Context(), "/data/y", []byte("y"), false))
			assert.Equal(t, "given", sh(t, c, "cat /srv/given"))
			assert.Equal(t, "/made/for/this", sh(t, c, "pwd"))
			other := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "data", Path: "/data"}}})
			assert.Equal(t, "y", sh(t, other, "echo x >/x; cat /data/y"), "it concerns one container only")
		})
		t.Run("dropped capabilities", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{Security: container.Security{Drop: []string{"CHOWN", "SETUID", "KILL"}}})
			want := capabilitySet(container.DefaultCapabilities) &^ (1<<unix.CAP_CHOWN | 1<<unix.CAP_SETUID | 1<<unix.CAP_KILL)
			status := sh(t, c, "cat /proc/self/status")
			for _, set := range []string{"CapPrm", "CapEff", "CapBnd"} {
				assert.Contains(t, status, fmt.Sprintf("%s:\t%016x", set, want))
			}
			none := newContainer(t, r, container.Spec{Security: container.Security{Drop: container.DefaultCapabilities}})
			assert.Contains(t, sh(t, none, "cat /proc/self/status"), fmt.Sprintf("CapEff:\t%016x", 0))
			require.NoError(t, none.WriteFile(t.Context(), "/tmp/f", []byte("x"), false))
		})
		t.Run("gaining privileges", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{Security: container.Security{GainPrivileges: true}})
			assert.Contains(t, sh(t, c, "cat /proc/self/status"), "NoNewPrivs:\t0")
		})
	})
}

func TestRunAsUser(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Isolated})
	c := newContainer(t, r, container.Spec{
		Command: "sh", Args: []string{"-c", "id -u; id -g; id -G; exec sleep 1000"},
		Files:    []container.File{{Path: "/srv/given", Content: []byte("given")}},
		Security: container.Security{User: 12345, Group: 23456, Drop: container.DefaultCapabilities},
	})
	ctx := t.Context()
	t.Run("processes", func(t *testing.T) {
		readUntil(t, c.Main().Stdout(), "12345\n23456\n23456\n")
		assert.Equal(t, "12345 23456 23456", sh(t, c, "echo $(id -u) $(id -g) $(id -G)"))
		status := sh(t, c, "cat /proc/self/status")
		assert.Contains(t, status, fmt.Sprintf("CapEff:\t%016x", 0))
		assert.Contains(t, status, fmt.Sprintf("CapBnd:\t%016x", 0))
		assert.Equal(t, "again", sh(t, c, "echo again >/dev/stdout"))
		assert.NotZero(t, shell(t, c, "echo x >/root/x || echo x >/etc/x").code)
		sh(t, c, "echo x >/tmp/x")
		terminal, err := c.Exec(ctx, container.ProcessSpec{Argv: []string{"sh", "-c", "echo x >$(tty) && id -u"}, TTY: &container.Size{}})
		require.NoError(t, err)
		got := finish(t, terminal)
		assert.Zero(t, got.code)
		assert.Equal(t, "x\r\n12345\r\n", got.stdout)
		p, err := c.Exec(ctx, container.ProcessSpec{Argv: []string{"sleep", "1000"}})
		require.NoError(t, err)
		p.Signal(int(unix.SIGTERM))
		awaitDone(t, p)
		assert.Equal(t, 143, p.ExitCode())
	})
	t.Run("C-141 files", func(t *testing.T) {
		sh(t, c, "umask 077; echo own >/tmp/own")
		got, err := c.ReadFile(ctx, "/tmp/own", fileLimit)
		require.NoError(t, err)
		assert.Equal(t, "own\n", string(got))
		_, err = c.ReadFile(ctx, "/etc/shadow", fileLimit)
		requireFileError(t, err, container.FilePermission)
		requireFileError(t, c.WriteFile(ctx, "/etc/new", nil, false), container.FilePermission)
		requireFileError(t, c.WriteFile(ctx, "/new/file", nil, false), container.FilePermission)
		require.NoError(t, c.WriteFile(ctx, "/tmp/dir/file", []byte("x"), false))
		assert.Equal(t, "12345:23456", sh(t, c, "stat -c %u:%g /tmp/dir/file"))
		assert.Equal(t, "12345:23456", sh(t, c, "stat -c %u:%g /tmp/dir"))
	})
	t.Run("a group alone", func(t *testing.T) {
		c := newContainer(t, r, container.Spec{Security: container.Security{Group: 7}})
		assert.Equal(t, "0 7 7", sh(t, c, "echo $(id -u) $(id -g) $(id -G)"))
	})
	t.Run("gaining privileges", func(t *testing.T) {
		var got []string
		for _, gain := range []bool{false, true} {
			c := newContainer(t, r, container.Spec{Security: container.Security{User: 12345, GainPrivileges: gain}})
			got = append(got, sh(t, c, "grep NoNewPrivs /proc/self/status | tr -dc 01"))
		}
		assert.Equal(t, []string{"1", "0"}, got)
	})
}

func TestCapabilitiesAreKnown(t *testing.T) {
	numbers := make(map[uint]bool)
	for _, name := range container.DefaultCapabilities {
		number, known := capabilityNumbers[name]
		assert.True(t, known, name)
		numbers[number] = true
	}
	assert.Len(t, numbers, len(capabilityNumbers))
}

func TestPlainHasNoSecurity(t *testing.T) {
	sb := newSandbox(t, newRuntime(t, Options{Isolation: Plain}), container.SandboxSpec{})
	for _, s := range []container.Security{{User: 1}, {Group: 1}, {ReadOnlyRoot: true}, {Drop: []string{"KILL"}}} {
		_, err := sb.Start(t.Context(), container.Spec{Security: s})
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
}
