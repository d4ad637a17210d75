package localserver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A Claim is a directory of this machine that stands for a persistent volume claim, so that it can be registered as a
// volume and mounted into sandboxes.
type Claim struct {
	Runner    string // empty: the one runner of this server
	Namespace string
	Name      string
	Dir       string // an absolute path
}

func (c Claim) check() error {
	switch {
	case c.Namespace == "" || c.Name == "":
		return fmt.Errorf("local server: the claim of %s lacks a namespace or a name", c.Dir)
	case !filepath.IsAbs(c.Dir):
		return fmt.Errorf("local server: the directory of claim %s/%s must be an absolute path", c.Namespace, c.Name)
	}
	return nil
}

// claimDir is the directory of a claim.
func (o *settings) claimDir(source *sandboxv1.PvcVolumeSource) (string, bool) {
	for _, c := range o.Claims {
		if orDefault(c.Runner, runnerID) == source.GetRunnerId() && c.Namespace == source.GetNamespace() && c.Name == source.GetClaimName() {
			return c.Dir, true
		}
	}
	return "", false
}

// volumeDir is the directory that a volume stands for, without links on the way. What is checked is where the links lead
// and not the way with them: a sandbox that has the claim may change them at any time.
func (o *settings) volumeDir(spec *sandboxv1.VolumeSpec) (string, error) {
	source := spec.GetPvc()
	claim, ok := o.claimDir(source)
	if !ok {
		return "", fmt.Errorf("runner %s has no claim %s/%s", source.GetRunnerId(), source.GetNamespace(), source.GetClaimName())
	}
	claim, err := filepath.EvalSymlinks(claim)
	if err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(claim, filepath.FromSlash(source.GetSubPath())))
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(claim, dir); err != nil || !filepath.IsLocal(rel) {
		return "", &fs.PathError{Op: "mount", Path: source.GetSubPath(), Err: errors.New("path leads out of the claim")}
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", &fs.PathError{Op: "mount", Path: source.GetSubPath(), Err: fs.ErrInvalid}
	}
	return dir, nil
}

// A finding is what a check of a volume came to.
type finding struct {
	state  sandboxv1.VolumeState
	reason string
}

// inspect looks at the directory of a volume.
func (s *Server) inspect(spec *sandboxv1.VolumeSpec) finding {
	if _, err := s.opt.volumeDir(spec); err != nil {
		return finding{volumeError, reasonVolumeBackendNotFound + ": " + err.Error()}
	}
	return finding{state: volumeReady}
}

// applied returns the volume with the finding in its status.
func (f finding) applied(v *sandboxv1.Volume, now *timestamppb.Timestamp) *sandboxv1.Volume {
	v = proto.CloneOf(v)
	v.Status.State, v.Status.StateReason, v.Status.LastValidatedTime = f.state, f.reason, now
	v.Status.AccessModes = nil
	if f.state == volumeReady {
		v.Status.AccessModes = []string{"ReadWriteMany"}
	}
	return v
}

// attach decides whether a sandbox can have the registered volumes that its spec names. The store's mutex is held until
// the sandbox is published, so that none of them can be deleted in between.
func (s *Server) attach(who identity, spec *sandboxv1.SandboxSpec) error {
	for i, v := range spec.GetVolumes() {
		id := v.GetVolumeId()
		if id == "" {
			continue
		}
		e := s.volumeEntry(who.organization, id)
		switch {
		case e == nil:
			return noVolume(id)
		case e.now.GetStatus().GetState() != volumeReady:
			return refusal{
				code:     codes.FailedPrecondition,
				reason:   reasonVolumeNotReady,
				text:     fmt.Sprintf("volume %s is not ready: %s", id, e.now.GetStatus().GetStateReason()),
				metadata: map[string]string{"volume_id": id},
			}.err()
		case spec.GetMode() != sandboxv1.SandboxMode_SANDBOX_MODE_CKS:
			return bad(fmt.Sprintf("spec.volumes[%d].volume_id", i), "a volume of one cluster cannot be mounted in serverless mode")
		}
	}
	return nil
}

// volumeIDs are the registered volumes of a sandbox, each once.
func volumeIDs(spec *sandboxv1.SandboxSpec) (ids []string) {
	for _, v := range spec.GetVolumes() {
		if id := v.GetVolumeId(); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
