package cwsandboxtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// inMemory runs a test with a server that has the options, in a bubble.
func inMemory(t *testing.T, opts []cwsandboxtest.Option, test func(t *testing.T, srv *cwsandboxtest.Server, a *api)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t, append(opts, cwsandboxtest.InMemory(), cwsandboxtest.AllowLeftovers())...)
		test(t, srv, connect(t, srv, srv.APIKey()))
	})
}

// reason is the reason of an error.
func reason(err error) cwsandbox.Reason {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return cwsandbox.Reason(info.GetReason())
		}
	}
	return ""
}

func TestNoShareTokens(t *testing.T) {
	for name, row := range map[string]struct {
		opts []cwsandboxtest.Option
		want cwsandbox.Reason
	}{
		"by default": {nil, ""},
		"without":    {[]cwsandboxtest.Option{cwsandboxtest.NoShareTokens()}, cwsandbox.ReasonHTTPSShareTokenNotSupported},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, row.opts, func(t *testing.T, _ *cwsandboxtest.Server, a *api) {
				_, err := a.CreateSandbox(a.ctx, &sandboxv1.CreateSandboxRequest{Sandbox: &sandboxv1.Sandbox{Spec: &sandboxv1.SandboxSpec{
					Containers: []*sandboxv1.Container{{Name: "main", Image: "any"}},
					Services: []*sandboxv1.Service{{
						Port: 80, Visibility: sandboxv1.Visibility_VISIBILITY_PUBLIC, Endpoint: &sandboxv1.EndpointSpec{
							Kind: sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS, Auth: sandboxv1.EndpointAuth_ENDPOINT_AUTH_SHARE_TOKEN,
						},
					}},
				}}})
				assert.Equal(t, row.want, reason(err), "%v", err)
			})
		})
	}
}

func TestPrepareDelay(t *testing.T) {
	for delay, want := range map[time.Duration]sandboxv1.State{
		0:           sandboxv1.State_STATE_RUNNING,
		time.Minute: sandboxv1.State_STATE_PREPARING,
	} {
		t.Run(delay.String(), func(t *testing.T) {
			inMemory(t, []cwsandboxtest.Option{cwsandboxtest.WithPrepareDelay(delay)}, func(t *testing.T, _ *cwsandboxtest.Server, a *api) {
				sb, err := a.CreateSandboxFromFile(a.ctx, &sandboxv1.CreateSandboxFromFileRequest{
					Type:           sandboxv1.SandboxFileType_SANDBOX_FILE_TYPE_COMPOSE,
					PrimaryService: "web", Contents: []byte("services: {web: {image: any}}"),
				})
				require.NoError(t, err)
				synctest.Wait()
				assert.Equal(t, want, a.state(t, sb.GetSandboxId()))
				time.Sleep(delay)
				synctest.Wait()
				assert.Equal(t, sandboxv1.State_STATE_RUNNING, a.state(t, sb.GetSandboxId()))
			})
		})
	}
}

func TestSnapshotLimits(t *testing.T) {
	// take makes a sandbox with five bytes in its volume, and returns how to take snapshots of it.
	take := func(t *testing.T, a *api) func() (*sandboxv1.FileSystemSnapshot, error) {
		scratch := &sandboxv1.SandboxVolume{Name: "data", Source: &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{}}}
		sb, err := a.CreateSandbox(a.ctx, &sandboxv1.CreateSandboxRequest{Sandbox: &sandboxv1.Sandbox{Spec: &sandboxv1.SandboxSpec{
			Containers: []*sandboxv1.Container{{
				Name: "main", Image: "any", VolumeMounts: []*sandboxv1.VolumeMount{{Volume: "data", MountPath: "/data"}},
			}},
			Volumes: []*sandboxv1.SandboxVolume{scratch},
		}}})
		require.NoError(t, err)
		synctest.Wait()
		id := sb.GetSandboxId()
		_, err = a.WriteFile(a.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/data/f", Content: []byte("12345")})
		require.NoError(t, err)
		return func() (*sandboxv1.FileSystemSnapshot, error) {
			return a.CreateFileSystemSnapshot(a.ctx, &sandboxv1.CreateFileSystemSnapshotRequest{SandboxId: id})
		}
	}
	inLimits := func(t *testing.T, l cwsandboxtest.SnapshotLimits, test func(srv *cwsandboxtest.Server, a *api)) {
		inMemory(t, []cwsandboxtest.Option{cwsandboxtest.WithSnapshotLimits(l)}, func(_ *testing.T, srv *cwsandboxtest.Server, a *api) { test(srv, a) })
	}
	for limit, want := range map[int64]sandboxv1.SnapshotState{
		5: sandboxv1.SnapshotState_SNAPSHOT_STATE_READY,
		4: sandboxv1.SnapshotState_SNAPSHOT_STATE_FAILED,
	} {
		t.Run(want.String(), func(t *testing.T) {
			inLimits(t, cwsandboxtest.SnapshotLimits{Bytes: limit}, func(_ *cwsandboxtest.Server, a *api) {
				made, err := take(t, a)()
				require.NoError(t, err)
				synctest.Wait()
				now, err := a.GetFileSystemSnapshot(a.ctx, &sandboxv1.GetFileSystemSnapshotRequest{FileSystemSnapshotId: made.GetFileSystemSnapshotId()})
				require.NoError(t, err)
				assert.Equal(t, want, now.GetState(), now.GetStateReason())
			})
		})
	}
	t.Run("count", func(t *testing.T) {
		inLimits(t, cwsandboxtest.SnapshotLimits{Count: 1}, func(_ *cwsandboxtest.Server, a *api) {
			next := take(t, a)
			_, err := next()
			require.NoError(t, err)
			synctest.Wait()
			_, err = next()
			assert.Equal(t, cwsandbox.ReasonFSSQuotaExceeded, reason(err), "%v", err)
		})
	})
	t.Run("in flight", func(t *testing.T) {
		inLimits(t, cwsandboxtest.SnapshotLimits{InFlight: 1}, func(srv *cwsandboxtest.Server, a *api) {
			next := take(t, a)
			release := srv.HoldSnapshots(srv.Active()[0])
			_, err := next()
			require.NoError(t, err)
			_, err = next()
			assert.Equal(t, cwsandbox.ReasonFSSInflightLimit, reason(err), "%v", err)
			release()
			synctest.Wait()
			_, err = next()
			assert.NoError(t, err)
		})
	})
}

func TestNegativeOptionsFailTheTest(t *testing.T) {
	for text, option := range map[string]cwsandboxtest.Option{
		"WithPrepareDelay":   cwsandboxtest.WithPrepareDelay(-1),
		"WithSnapshotLimits": cwsandboxtest.WithSnapshotLimits(cwsandboxtest.SnapshotLimits{Count: -1}),
	} {
		_, err := cwsandboxtest.Start(t.Context(), option)
		assert.ErrorContains(t, err, text+": must not be negative")
	}
}
