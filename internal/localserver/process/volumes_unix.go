//go:build linux || darwin

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// The directories of volumes in a sandbox's directory, and of archives in the runtime's.
const (
	volumesDir  = "volumes"
	archivesDir = "archives"
)

// A volume is where a volume of a sandbox lies on the host.
type volume struct {
	container.Volume
	dir string
}

// makeVolumes makes the directories of a sandbox's volumes.
func makeVolumes(dir string, specs []container.Volume) ([]volume, error) {
	if len(specs) == 0 {
		return nil, nil
	}
	base := filepath.Join(dir, volumesDir)
	if err := os.Mkdir(base, 0o755); err != nil {
		return nil, err
	}
	var volumes []volume
	for i, spec := range specs {
		v := volume{Volume: spec, dir: spec.HostDir}
		if v.scratch() {
			v.dir = filepath.Join(base, strconv.Itoa(i))
			if err := os.Mkdir(v.dir, 0o700); err != nil {
				return nil, err
			}
			if err := os.Chmod(v.dir, 0o777); err != nil { // whoever a container runs as may write, whatever the umask
				return nil, err
			}
		} else if info, err := os.Stat(v.dir); err != nil || !info.IsDir() {
			return nil, fmt.Errorf("volume %s: %s is not a directory that can be used", v.Name, v.dir)
		}
		volumes = append(volumes, v)
	}
	return volumes, nil
}

func (v volume) scratch() bool { return v.HostDir == "" }

// fill restores the volumes that begin with the content of an archive.
func (s *sandbox) fill(ctx context.Context) error {
	for _, v := range s.volumes {
		if v.Restore == nil {
			continue
		}
		a, ok := v.Restore.(*archive)
		if !ok {
			return fmt.Errorf("volume %s: the archive belongs to another runtime", v.Name)
		}
		if _, err := s.place.copyTree(ctx, copying{From: a.dir, To: v.dir}); err != nil {
			return fmt.Errorf("volume %s: restore: %w", v.Name, err)
		}
	}
	return nil
}

// A boundMount is a volume, or a directory in it, at a path of a container.
type boundMount struct {
	Source   string // of the volume, on the host
	SubPath  string
	Target   string
	ReadOnly bool
	Fixed    bool // nothing can be made in the volume
}

// mounts finds the volumes that a container wants to see. Outer paths come first.
func (s *sandbox) mounts(specs []container.Mount) ([]boundMount, error) {
	var list []boundMount
	for _, m := range specs {
		i := slices.IndexFunc(s.volumes, func(v volume) bool { return v.Name == m.Volume })
		if i < 0 {
			return nil, fmt.Errorf("mount %s: there is no volume %s", m.Path, m.Volume)
		}
		v := s.volumes[i]
		list = append(list, boundMount{v.dir, m.SubPath, m.Path, m.ReadOnly || v.ReadOnly, v.ReadOnly})
	}
	slices.SortStableFunc(list, func(a, b boundMount) int { return len(a.Target) - len(b.Target) })
	return list, nil
}

// An archive is a copy of a volume in the runtime's directory.
type archive struct {
	dir  string
	size int64
}

// Archive implements [container.Sandbox].
func (s *sandbox) Archive(ctx context.Context, name string, limit int64) (container.Archive, error) {
	i := slices.IndexFunc(s.volumes, func(v volume) bool { return v.Name == name && v.scratch() })
	if i < 0 {
		return nil, fmt.Errorf("there is no scratch volume %s", name)
	}
	base := filepath.Join(s.runtime.data.path, archivesDir)
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(base, "archive-")
	if err != nil {
		return nil, err
	}
	size, err := s.place.copyTree(ctx, copying{From: s.volumes[i].dir, To: dir, Limit: limit})
	if err != nil {
		return nil, errors.Join(err, removeTree(dir))
	}
	return &archive{dir, size}, nil
}

// Size implements [container.Archive].
func (a *archive) Size() int64 { return a.size }

// Remove implements [container.Archive].
func (a *archive) Remove() error { return removeTree(a.dir) }
