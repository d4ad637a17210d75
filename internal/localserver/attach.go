package localserver

import (
	"os"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// resolveSizes replaces the sizes that are a percentage of the memory that the containers ask for. The spec that came
// with the request is left alone, because a repeated request is compared with it.
func resolveSizes(c *checker, spec *sandboxv1.SandboxSpec, demands []demand) *sandboxv1.SandboxSpec {
	var memory quantity.Value
	for _, d := range demands {
		memory = memory.Add(amountOf(d.requests.GetMemory()))
	}
	resolved := spec
	for i, v := range spec.GetVolumes() {
		text, isPercent := strings.CutSuffix(v.GetScratch().GetSize(), "%")
		if !isPercent {
			continue
		}
		percent, _ := strconv.ParseInt(text, 10, 64) // was found valid
		hundredth, rest := memory.Ceil()/100, memory.Ceil()%100
		size, _ := quantity.Parse(strconv.FormatInt(hundredth*percent+rest*percent/100, 10))
		c.require(!size.IsZero(), indexed("spec.volumes", i)+".scratch.size", "must not be a percentage where no memory is asked for")
		if resolved == spec {
			resolved = proto.CloneOf(spec)
		}
		resolved.GetVolumes()[i].GetScratch().Size = size.String()
	}
	return resolved
}

func indexed(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// admitVolumes refuses what the runtime cannot offer.
func (s *Server) admitVolumes(spec *sandboxv1.SandboxSpec) error {
	if s.opt.Runtime.Isolation() != plainIsolation {
		return nil
	}
	for _, v := range spec.GetVolumes() {
		if v.GetScratch().GetMedium() == sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY {
			return noHost("volume", "without isolation there are no volumes in memory")
		}
	}
	for _, ct := range spec.GetContainers() {
		for _, m := range ct.GetVolumeMounts() {
			if m.GetReadOnly() {
				return noHost("volume", "without isolation no volume can be read-only")
			}
			if tmp := strings.TrimSuffix(os.TempDir(), "/"); !within(tmp, m.GetMountPath()) || m.GetMountPath() == tmp {
				return noHost("volume", "without isolation volumes can be mounted below "+tmp+" only")
			}
		}
	}
	return nil
}

// attachedVolume is a volume of a sandbox, and where it comes from.
type attachedVolume struct {
	container.Volume
	registered *sandboxv1.VolumeSpec // nil: a scratch volume
	from       *snapshot             // that it is filled from; nil: none, or done
}

// checkVolumes decides whether everything is there that the volumes of a spec refer to. The store's mutex must not be held.
func (s *Server) checkVolumes(spec *sandboxv1.SandboxSpec, who identity) error {
	s.store.Lock()
	defer s.store.Unlock()
	_, err := s.findVolumes(spec, who)
	return err
}

// attachVolumes finds everything that the volumes of a spec refer to. Snapshots are kept until releaseRestored, even when
// they are deleted meanwhile. The store's mutex is held.
func (s *Server) attachVolumes(spec *sandboxv1.SandboxSpec, who identity) ([]attachedVolume, error) {
	list, err := s.findVolumes(spec, who)
	for _, a := range list {
		if a.from != nil {
			a.from.users++
		}
	}
	return list, err
}

// findVolumes is attachVolumes without keeping the snapshots.
func (s *Server) findVolumes(spec *sandboxv1.SandboxSpec, who identity) ([]attachedVolume, error) {
	if err := s.attach(who, spec); err != nil {
		return nil, err
	}
	var list []attachedVolume
	for _, v := range spec.GetVolumes() {
		a := attachedVolume{Volume: container.Volume{Name: v.GetName()}}
		switch scratch := v.GetScratch(); {
		case v.GetVolumeId() != "":
			a.registered = s.volumeEntry(who.organization, v.GetVolumeId()).now.GetSpec()
			a.ReadOnly = a.registered.GetReadOnly()
		case scratch.GetRestoreFromSnapshotId() != "" && s.opt.DisableSnapshots:
			return nil, snapshotsOff()
		case scratch.GetRestoreFromSnapshotId() != "":
			sn, err := s.restorable(scratch.GetRestoreFromSnapshotId(), who)
			if err != nil {
				return nil, err
			}
			a.from, a.Restore = sn, sn.archive
		}
		if v.GetScratch().GetMedium() == sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY {
			a.MemoryBytes = amountOf(v.GetScratch().GetSize()).Ceil()
		}
		list = append(list, a)
	}
	return list, nil
}

// runtimeVolumes finds the directories of this machine that registered volumes stand for.
func (r *record) runtimeVolumes() ([]container.Volume, error) {
	var list []container.Volume
	for _, a := range r.volumes {
		if a.registered != nil {
			dir, err := r.server.opt.volumeDir(a.registered)
			if err != nil {
				return nil, err
			}
			a.HostDir = dir
		}
		list = append(list, a.Volume)
	}
	return list, nil
}

// releaseRestored lets go of the snapshots that volumes were filled from.
func (r *record) releaseRestored() {
	s := r.server
	var unused []container.Archive
	s.store.Lock()
	for i := range r.volumes {
		a := &r.volumes[i]
		if a.from == nil {
			continue
		}
		a.from.users--
		unused = append(unused, a.from.takeUnused()...)
		a.from = nil
	}
	s.store.Unlock()
	s.discard(unused)
}

// unprepared describes the end of a sandbox that could not be made. With a volume to fill, that is taken for the cause.
func (r *record) unprepared(err error) string {
	for _, a := range r.volumes {
		if a.Restore != nil {
			return reasonFSSRestoreFailed + ": " + oneLine(err)
		}
	}
	return "the sandbox could not be prepared: " + oneLine(err)
}

// declared reports whether the spec declares a volume of that name, and of which kind.
func declared(spec *sandboxv1.SandboxSpec, name string) (scratch, registered bool) {
	for _, v := range spec.GetVolumes() {
		if v.GetName() == name {
			return v.GetVolumeId() == "", v.GetVolumeId() != ""
		}
	}
	return false, false
}
