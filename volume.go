package cwsandbox

import (
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Volume is a directory of a sandbox beside the files of its containers, see [WithVolumes]. It outlives the restarts of a
// container, and several containers can mount it. Without a VolumeID it is a scratch volume: it ends with the sandbox, but
// for what a snapshot has kept of it, see [Sandbox.Snapshot] and [WithStopSnapshot].
type Volume struct {
	// Name is required, and unique in the sandbox: 1 to 63 letters, digits, underscores and dashes.
	Name string
	// Path is where the primary container has the volume: an absolute, canonical path below the root, of at most 256
	// characters and outside /proc, /sys, /dev, /etc and the platform's own directories. Empty: the volume is only
	// declared, for the Mounts of a [Container].
	Path string
	// SubPath mounts a directory of the volume in place of all of it: a relative, canonical path.
	SubPath string
	// ReadOnly keeps the primary container from writing to it.
	ReadOnly bool

	// Size of a scratch volume, in the notation of [ResourceList]; empty: the service's default. In memory it is required,
	// and may be a whole percentage, such as "50%", of the memory that all containers ask for together.
	Size string
	// Medium of a scratch volume; unspecified: disk.
	Medium Medium
	// SnapshotID fills a scratch volume from a snapshot, which stays as it is, before the main process starts. A snapshot
	// that is not known is [ErrNotFound], one that is not ready [ErrPrecondition].
	SnapshotID string

	// VolumeID mounts a registered volume, see [RegisteredVolume], live and shared with every sandbox that has it. It is
	// never part of a snapshot. It needs [PlacementCKS].
	VolumeID string
}

// VolumeMount shows a volume of the sandbox in a container of several: see the fields of [Volume] of the same names.
type VolumeMount struct {
	Volume   string // by its name
	Path     string
	SubPath  string
	ReadOnly bool
}

// Medium is where a scratch volume lies.
type Medium int32

// The media of scratch volumes. One that this version does not know is kept by its number.
const (
	MediumUnspecified Medium = 0
	MediumDisk        Medium = 1
	MediumMemory      Medium = 2 // counts against the memory that the containers asked for
)

var mediumNames = []string{"unspecified", "disk", "memory"}

// String is the name of the medium.
func (m Medium) String() string {
	if m >= 0 && int(m) < len(mediumNames) {
		return mediumNames[m]
	}
	return "Medium(" + strconv.Itoa(int(m)) + ")"
}

const (
	volumesField  = "spec.volumes"
	workspaceName = "workspace" // of the volume of WithScratch
	maxMountPath  = 256         // characters
)

// WithVolumes gives the sandbox these volumes, in place of those that a weaker layer says. Without any it has none.
func WithVolumes(volumes ...Volume) Option {
	volumes = slices.Clone(volumes)
	shown := make([]string, len(volumes))
	for i, v := range volumes {
		shown[i] = v.Name
	}
	return createOption{printedList("WithVolumes", shown), func(c *createConfig) { c.setVolumes("WithVolumes", volumes) }}
}

// WithScratch gives the sandbox one scratch volume, named workspace, at a path of its primary container. An empty size is
// the service's default. It takes the place of what a weaker layer says about volumes, and cannot stand beside
// [WithVolumes], which can say more.
func WithScratch(path, size string) Option {
	return createOption{printed("WithScratch", path, size), func(c *createConfig) {
		if path == "" {
			c.faults.add("spec.containers[0].volume_mounts[0].mount_path", "must not be empty")
		}
		c.setVolumes("WithScratch", []Volume{{Name: workspaceName, Path: path, Size: size}})
	}}
}

// WithRestored is [WithScratch] with what a snapshot has kept.
func WithRestored(path, snapshotID string) Option {
	return createOption{printed("WithRestored", path, snapshotID), func(c *createConfig) {
		if path == "" {
			c.faults.add("spec.containers[0].volume_mounts[0].mount_path", "must not be empty")
		}
		checkWord(&c.faults, volumesField+"[0].scratch.restore_from_snapshot_id", snapshotID)
		c.setVolumes("WithRestored", []Volume{{Name: workspaceName, Path: path, SnapshotID: snapshotID}})
	}}
}

// givenVolumes are the volumes of a create, and by which option of which list.
type givenVolumes struct {
	volumes []Volume
	option  string
	list    int
}

// setVolumes replaces the volumes. Two ways to say them in one list contradict each other.
func (c *createConfig) setVolumes(option string, volumes []Volume) {
	if was := c.volumes.value; was.list == c.list && was.option != option {
		c.faults.add(volumesField, "must not be given by %s too", was.option)
	}
	c.volumes = setting[givenVolumes]{givenVolumes{slices.Clone(volumes), option, c.list}, c.layer}
	names := make(map[string]bool)
	for i, v := range volumes {
		field := indexed(volumesField, i)
		v.check(&c.faults, field)
		if names[v.Name] {
			c.faults.add(field+".name", "must not repeat %q", v.Name)
		}
		names[v.Name] = true
	}
}

var volumeName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,63}$`)

func (v Volume) check(f *faults, field string) {
	if !volumeName.MatchString(v.Name) {
		f.add(field+".name", "must be 1 to 63 letters, digits, underscores and dashes, is %q", v.Name)
	}
	if v.Path == "" && (v.SubPath != "" || v.ReadOnly) {
		f.add(field+".path", "must be given where a sub path or read-only is")
	}
	if v.VolumeID != "" {
		checkWord(f, field+".volume_id", v.VolumeID)
		if v.Size != "" || v.Medium != MediumUnspecified || v.SnapshotID != "" {
			f.add(field+".volume_id", "must not be given together with size, medium or snapshot, which are of scratch volumes")
		}
		return
	}
	if v.SnapshotID != "" {
		checkWord(f, field+".scratch.restore_from_snapshot_id", v.SnapshotID)
	}
	if v.Medium < MediumUnspecified || v.Medium > MediumMemory {
		f.add(field+".scratch.medium", "must be disk or memory, is %v", v.Medium)
	}
	v.checkSize(f, field+".scratch.size")
}

var percentage = regexp.MustCompile(`^([1-9][0-9]?|100)%$`)

func (v Volume) checkSize(f *faults, field string) {
	switch inMemory := v.Medium == MediumMemory; {
	case v.Size == "" && inMemory:
		f.add(field, "must be given for a volume in memory")
	case strings.HasSuffix(v.Size, "%") && !inMemory:
		f.add(field, "must not be a percentage, %q, but for a volume in memory", v.Size)
	case strings.HasSuffix(v.Size, "%"):
		if !percentage.MatchString(v.Size) {
			f.add(field, "must be a whole percentage from 1%% to 100%%, is %q", v.Size)
		}
	default:
		if size, ok := checkQuantity(f, field, v.Size); ok && size.IsZero() {
			f.add(field, "must not be zero")
		}
	}
}

// primaryMounts are the mounts that the volumes themselves ask for.
func (c *createConfig) primaryMounts() (mounts []VolumeMount) {
	for _, v := range c.volumes.value.volumes {
		if v.Path != "" {
			mounts = append(mounts, VolumeMount{Volume: v.Name, Path: v.Path, SubPath: v.SubPath, ReadOnly: v.ReadOnly})
		}
	}
	return mounts
}

// checkMounts is the rule for the mounts of all containers, once everything was said.
func (c *createConfig) checkMounts() {
	for i, container := range c.allContainers() {
		for j, m := range container.Mounts {
			field := indexed(indexed("spec.containers", i)+".volume_mounts", j)
			m.check(&c.faults, field)
			declared := slices.ContainsFunc(c.volumes.value.volumes, func(v Volume) bool { return v.Name == m.Volume })
			if !declared && c.origin.plain() && !c.partial {
				c.faults.add(field+".volume", "must name a volume of the sandbox, is %q", m.Volume)
			}
			if slices.ContainsFunc(container.Mounts[:j], func(other VolumeMount) bool { return other.Path == m.Path }) {
				c.faults.add(field+".mount_path", "must not repeat %q", m.Path)
			}
			for _, file := range container.Files {
				if within(m.Path, file.Path) || within(file.Path, m.Path) {
					c.faults.add(field+".mount_path", "%q must not overlap with the mounted file %q", m.Path, file.Path)
				}
			}
		}
	}
}

// reservedDirs are what nothing can be mounted at or below.
var reservedDirs = []string{"/proc", "/sys", "/dev", "/var/run/secrets", "/shared/credentials", "/etc"}

func (m VolumeMount) check(f *faults, field string) {
	p := m.Path
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || utf8.RuneCountInString(p) > maxMountPath {
		f.add(field+".mount_path", "must be an absolute, canonical path below the root of at most 256 characters, is %q", p)
	}
	checkText(f, field+".mount_path", p)
	if i := slices.IndexFunc(reservedDirs, func(dir string) bool { return within(dir, p) }); i >= 0 {
		f.add(field+".mount_path", "must not be at or below %s, is %q", reservedDirs[i], p)
	}
	checkSubPath(f, field+".sub_path", m.SubPath)
}

// checkSubPath is the rule for a directory of a volume. Nothing is all of it.
func checkSubPath(f *faults, field, sub string) {
	if sub != "" && (path.IsAbs(sub) || path.Clean(sub) != sub || sub == "." || within("..", sub)) {
		f.add(field, "must be a relative, canonical path, is %q", sub)
	}
	checkText(f, field, sub)
}

// within reports whether p is dir or lies below it.
func within(dir, p string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func (m VolumeMount) message() *sandboxv1.VolumeMount {
	return &sandboxv1.VolumeMount{Volume: m.Volume, MountPath: m.Path, SubPath: m.SubPath, ReadOnly: m.ReadOnly}
}

func mountMessages(mounts []VolumeMount) (list []*sandboxv1.VolumeMount) {
	for _, m := range mounts {
		list = append(list, m.message())
	}
	return list
}

func mountsOf(list []*sandboxv1.VolumeMount) (mounts []VolumeMount) {
	for _, m := range list {
		mounts = append(mounts, VolumeMount{m.GetVolume(), m.GetMountPath(), m.GetSubPath(), m.GetReadOnly()})
	}
	return mounts
}

func (v Volume) message() *sandboxv1.SandboxVolume {
	m := &sandboxv1.SandboxVolume{Name: v.Name}
	if v.VolumeID != "" {
		m.Source = &sandboxv1.SandboxVolume_VolumeId{VolumeId: v.VolumeID}
		return m
	}
	m.Source = &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{
		Size:                  v.Size,
		Medium:                sandboxv1.StorageMedium(v.Medium),
		RestoreFromSnapshotId: v.SnapshotID,
	}}
	return m
}

func volumeMessages(volumes []Volume) (list []*sandboxv1.SandboxVolume) {
	for _, v := range volumes {
		list = append(list, v.message())
	}
	return list
}

// scratchNames are the volumes that snapshots can be taken of.
func scratchNames(volumes []Volume) (names []string) {
	for _, v := range volumes {
		if v.VolumeID == "" {
			names = append(names, v.Name)
		}
	}
	return names
}

// volumesOf reads the volumes of a sandbox, each with where the primary container has it first.
func volumesOf(list []*sandboxv1.SandboxVolume, primary *sandboxv1.Container) (volumes []Volume) {
	for _, m := range list {
		scratch := m.GetScratch()
		v := Volume{
			Name:       m.GetName(),
			Size:       scratch.GetSize(),
			Medium:     Medium(scratch.GetMedium()),
			SnapshotID: scratch.GetRestoreFromSnapshotId(),
			VolumeID:   m.GetVolumeId(),
		}
		for _, mount := range primary.GetVolumeMounts() {
			if mount.GetVolume() == v.Name {
				v.Path, v.SubPath, v.ReadOnly = mount.GetMountPath(), mount.GetSubPath(), mount.GetReadOnly()
				break
			}
		}
		volumes = append(volumes, v)
	}
	return volumes
}
