package process

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

func TestIsolation(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		t.Run("C-189", func(t *testing.T) { testWritesStayInside(t, r) })
		t.Run("C-190", func(t *testing.T) { testDeletion(t, r) })
		t.Run("C-191", func(t *testing.T) { testOwnProcesses(t, r) })
		t.Run("C-192", func(t *testing.T) { testSeparation(t, r) })
		t.Run("C-193", func(t *testing.T) { testMasks(t, r.Isolation()) })
		t.Run("C-194", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{})
			for _, script := range []string{
				"echo x >/proc/sys/kernel/hostname", "touch /sys/x", "echo 1 >/sys/kernel/profiling",
				"mknod /tmp/disk b 254 0", "mknod /root/disk b 254 0", "mount -t tmpfs tmpfs /mnt", "umount /proc",
			} {
				assert.NotZero(t, shell(t, c, script).code, script)
			}
		})
		t.Run("C-195", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{})
			// Orphans: their parents leave at once, and a session of their own keeps them alive beyond the exec.
			sh(t, c, "i=0; while [ $i -lt 1000 ]; do (setsid sleep 0.2 &) ; i=$((i+1)); done")
			awaitRunning(t, c, "sleep 0.2", 0)
			awaitCount(t, c, "ps -A -o stat= | grep -c ^Z", 0) // the last ones may just be on their way out
		})
		t.Run("C-197", func(t *testing.T) { testBaseEnvironment(t, r) })
		t.Run("C-198", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{WorkingDir: "/made/for/this", Command: "sh", Args: []string{"-c", "pwd; exec sleep 1000"}})
			readUntil(t, c.Main().Stdout(), "/made/for/this\n")
			assert.Equal(t, "/made/for/this", sh(t, c, "pwd"))
			assert.Equal(t, "/", sh(t, newContainer(t, r, container.Spec{}), "pwd"))
		})
		t.Run("C-199", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{Files: []container.File{
				{Path: "/srv/given/data", Content: []byte("a\x00b")}, {Path: "/etc/passwd", Content: []byte("replaced")},
			}})
			assert.Equal(t, "a\x00b", sh(t, c, "cat /srv/given/data"))
			assert.Equal(t, "replaced", sh(t, c, "cat /etc/passwd"))
			for _, script := range []string{"echo x >/srv/given/data", "rm -f /srv/given/data", "mv /srv/given/data /tmp"} {
				assert.NotZero(t, shell(t, c, script).code, script)
			}
			assert.Equal(t, "a\x00b", sh(t, c, "cat /srv/given/data"))
		})
		t.Run("rights", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{})
			status := sh(t, c, "cat /proc/self/status")
			assert.Contains(t, status, fmt.Sprintf("CapBnd:\t%016x", capabilitySet(container.DefaultCapabilities)))
			assert.Contains(t, status, "NoNewPrivs:\t1")
			assert.Equal(t, "0", sh(t, c, "ulimit -c"))
			assert.Equal(t, "0", sh(t, c, "id -u"))
			assert.Equal(t, 0, shell(t, c, "kill -TERM 1; kill -INT 1; kill -KILL 1; sleep 0.1").code, "init stays")
			assert.NotZero(t, shell(t, c, "cat /proc/1/environ").code)
			assert.NotZero(t, shell(t, c, "readlink /proc/1/root").code)
		})
		t.Run("links out of the root", func(t *testing.T) { testLinkedFiles(t, r) })
		t.Run("an image root", func(t *testing.T) { testImageRoot(t, r) })
		t.Run("network", func(t *testing.T) { testNetwork(t, r) })
	})
}

// testWritesStayInside writes to the places that a sandbox may think its own.
func testWritesStayInside(t *testing.T, r *Runtime) {
	name := "cwsandbox-test-" + strconv.Itoa(os.Getpid())
	one, other := newContainer(t, r, container.Spec{}), newContainer(t, r, container.Spec{})
	for _, dir := range []string{"/workspace", "/tmp", "/var/tmp", "/etc", "/usr", "/usr/local/bin", "/root", "/run", "/dev/shm", "/"} {
		path := filepath.Join(dir, name)
		sh(t, one, "mkdir -p "+dir+" && echo x >"+path)
		assert.NoFileExists(t, path)
		assert.NotZero(t, shell(t, other, "test -e "+path).code, path)
	}
}

func testDeletion(t *testing.T, r *Runtime) {
	one, other := newContainer(t, r, container.Spec{}), newContainer(t, r, container.Spec{})
	// All of it would take long; the programs go first.
	p, err := one.Exec(t.Context(), container.ProcessSpec{Argv: []string{"rm", "-rf", "/usr/bin", "/usr"}})
	require.NoError(t, err)
	if os.Geteuid() == 0 { // nobody else may delete there, inside or not
		require.Eventually(t, func() bool {
			_, err := one.ReadFile(t.Context(), "/usr/bin/env", fileLimit)
			return err != nil
		}, patience, 10*time.Millisecond)
	}
	assert.Equal(t, "works", sh(t, other, "/usr/bin/env echo works"))
	assert.FileExists(t, "/usr/bin/env")
	p.Kill()
	awaitDone(t, p)
	assert.Equal(t, "works", sh(t, newContainer(t, r, container.Spec{}), "/usr/bin/env echo works"))
}

func testOwnProcesses(t *testing.T, r *Runtime) {
	c := newContainer(t, r, container.Spec{})
	for _, line := range strings.Split(sh(t, c, "ps -A -o args="), "\n") {
		known := strings.HasPrefix(line, roleInit) || strings.HasPrefix(line, roleIdle) ||
			strings.Contains(line, "ps -A")
		assert.True(t, known, line)
	}
	assert.NotZero(t, shell(t, c, fmt.Sprintf("kill -0 %d", os.Getpid())).code)
}

func testSeparation(t *testing.T, r *Runtime) {
	first := newSandbox(t, r, container.SandboxSpec{ID: "sb-first", DenyEgress: true})
	a, b := startContainer(t, first, container.Spec{Hosts: []string{"web", "db"}}), startContainer(t, first, container.Spec{})
	second := startContainer(t, newSandbox(t, r, container.SandboxSpec{ID: "sb-second", DenyEgress: true}), container.Spec{})
	assert.Equal(t, "sb-first sb-first", sh(t, a, "echo $(hostname) $(cat /etc/hostname)"))
	assert.Equal(t, "sb-second", sh(t, second, "hostname"))
	assert.Equal(t, "127.0.0.1 127.0.0.1", sh(t, a, "echo $(getent hosts web db | cut -d' ' -f1)"))
	assert.NotZero(t, shell(t, b, "grep -w db /etc/hosts").code)

	sh(t, a, "echo x >/tmp/of-a")
	network := sh(t, a, "readlink /proc/self/ns/net")
	assert.Equal(t, network, sh(t, b, "readlink /proc/self/ns/net"), "containers of a sandbox share loopback")
	assert.NotEqual(t, network, sh(t, second, "readlink /proc/self/ns/net"))
	p, err := a.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sleep", "71010"}})
	require.NoError(t, err)
	for _, c := range []container.Container{b, second} {
		assert.NotZero(t, shell(t, c, "test -e /tmp/of-a").code)
		assert.NotContains(t, sh(t, c, "ps -A -o args="), "sleep 71010")
	}
	p.Kill()
}

func testMasks(t *testing.T, level string) {
	data := t.TempDir()
	secrets, err := os.MkdirTemp("/var", "cwsandbox-test-")
	if err != nil {
		secrets = t.TempDir() // an ordinary user has no other place; a private /tmp hides it as well
	}
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(secrets)) })
	file, dir := filepath.Join(secrets, "token"), filepath.Join(secrets, "keys")
	require.NoError(t, os.WriteFile(file, []byte("secret"), 0o644))
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "id"), []byte("secret"), 0o644))

	r := newRuntime(t, Options{Isolation: level, DataDir: data, MaskPaths: []string{file, dir, "/no/such/path"}})
	c := newContainer(t, r, container.Spec{})
	assert.Empty(t, shell(t, c, "cat "+file).stdout)
	assert.Empty(t, shell(t, c, "ls -A "+dir).stdout)
	assert.Empty(t, shell(t, c, "ls -A "+data).stdout)
	shell(t, c, "echo x >"+file+"; touch "+dir+"/x")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "secret", string(content))
	assert.NoFileExists(t, filepath.Join(dir, "x"))
}

func TestCredentialPlaces(t *testing.T) {
	t.Setenv("HOME", "/home/somebody")
	assert.Subset(t, credentialPaths(), []string{"/home/somebody/.ssh", "/home/somebody/.netrc", "/root/.aws"})
}

func testBaseEnvironment(t *testing.T, r *Runtime) {
	for _, name := range []string{"CWSANDBOX_API_KEY", "WANDB_API_KEY", "ANYTHING"} {
		t.Setenv(name, "secret")
	}
	t.Setenv("LANG", "C.UTF-8")
	sb := newSandbox(t, r, container.SandboxSpec{ID: "sb-env"})
	c := startContainer(t, sb, container.Spec{Env: map[string]string{"OWN": "1"}})
	got := run(t, c, container.ProcessSpec{Argv: []string{"env"}, Env: map[string]string{"EXEC": "2"}})
	assert.ElementsMatch(t, []string{"PATH=" + os.Getenv("PATH"), "HOME=/root", "HOSTNAME=sb-env", "LANG=C.UTF-8", "OWN=1", "EXEC=2"},
		strings.Fields(got.stdout))
	assert.NotContains(t, sh(t, c, "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'"), "secret")
}

// testLinkedFiles starts a container from an image whose files are links to the host's.
func testLinkedFiles(t *testing.T, r *Runtime) {
	image, target := t.TempDir(), filepath.Join(t.TempDir(), "host")
	for _, dir := range []string{"usr", "etc"} {
		require.NoError(t, os.MkdirAll(filepath.Join(image, dir), 0o755))
	}
	require.NoError(t, os.WriteFile(target, []byte("host"), 0o666))
	require.NoError(t, os.Symlink(target, filepath.Join(image, "etc", "resolv.conf")))
	require.NoError(t, os.Symlink(filepath.Dir(target), filepath.Join(image, "tmp")))
	linked := newRuntime(t, Options{Isolation: r.Isolation(), Images: map[string]Image{"links": {Root: image}}})
	sb := newSandbox(t, linked, container.SandboxSpec{})
	_, err := sb.Start(t.Context(), container.Spec{Image: "links", WorkingDir: "/srv/job", Command: "/bin/sh"})
	assert.Error(t, err, "there is no shell in it")
	content, err := os.ReadFile(target)
	require.NoError(t, err)
	assert.Equal(t, "host", string(content))
	entries, err := os.ReadDir(filepath.Dir(target))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

// testImageRoot takes the host's /usr for an image: where the host's root only links to it, it is complete.
func testImageRoot(t *testing.T, r *Runtime) {
	for _, link := range []string{"/bin", "/lib"} {
		if to, err := os.Readlink(link); err != nil || !strings.HasSuffix(to, "usr"+link) {
			t.Skipf("%s of this machine is no link to /usr", link)
		}
	}
	mapped := newRuntime(t, Options{Isolation: r.Isolation(), Images: map[string]Image{"usr": {Root: "/usr"}}})
	c := startContainer(t, newSandbox(t, mapped, container.SandboxSpec{}), container.Spec{
		Image: "usr", Command: "/bin/sh", Args: []string{"-c", "echo main; exec sleep 1000"}, WorkingDir: "/srv/job/dir",
	})
	readUntil(t, c.Main().Stdout(), "main")
	assert.Equal(t, "/srv/job/dir", sh(t, c, "test ! -e /usr/bin && echo x >/new && pwd"))
	assert.NoFileExists(t, "/usr/new")
}

func testNetwork(t *testing.T, r *Runtime) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).Port
	dial := fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%d", port)
	bash := func(c container.Container) int {
		return run(t, c, container.ProcessSpec{Argv: []string{"bash", "-c", dial}}).code
	}
	assert.Zero(t, bash(newContainer(t, r, container.Spec{})))
	denied := newSandbox(t, r, container.SandboxSpec{DenyEgress: true})
	c := startContainer(t, denied, container.Spec{})
	assert.NotZero(t, bash(c))
	// The loopback interface is up: what refuses is the missing listener, not the network.
	got := run(t, c, container.ProcessSpec{Argv: []string{"bash", "-c", dial}})
	assert.Contains(t, got.stderr, "refused")
}

func TestPlainHasNoNetworkOfItsOwn(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Plain})
	_, err := r.NewSandbox(t.Context(), container.SandboxSpec{ID: "sb", DenyEgress: true})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}
