package scripted

import (
	"context"
	"fmt"
	"maps"
	"path"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// An archive is a copy of a volume. Contents are never written in place, so that copies share them.
type archive struct {
	content map[string][]byte
	dirs    map[string]bool
	size    int64
}

// Size is how many bytes its files have.
func (a *archive) Size() int64 { return a.size }

// Remove has nothing to delete.
func (a *archive) Remove() error { return nil }

func (t *tree) archive() *archive {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := &archive{content: maps.Clone(t.content), dirs: maps.Clone(t.dirs)}
	for _, content := range a.content {
		a.size += int64(len(content))
	}
	return a
}

// newVolumes makes the volumes of a sandbox. The scripted runtime has no disk: what a directory of the host would be
// is shared by the sandboxes that name it.
func (r *Runtime) newVolumes(specs []container.Volume) (map[string]*tree, error) {
	volumes := make(map[string]*tree, len(specs))
	for _, v := range specs {
		t := newTree()
		switch a, isOurs := v.Restore.(*archive); {
		case v.HostDir != "":
			t = r.shared(v.HostDir)
		case isOurs:
			t.content, t.dirs = maps.Clone(a.content), maps.Clone(a.dirs)
		case v.Restore != nil:
			return nil, fmt.Errorf("volume %s: the archive belongs to another runtime", v.Name)
		}
		volumes[v.Name] = t
	}
	return volumes, nil
}

// shared returns what stands for a directory of the host.
func (r *Runtime) shared(dir string) *tree {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hostDirs[dir] == nil {
		r.hostDirs[dir] = newTree()
	}
	return r.hostDirs[dir]
}

// mounts connects a container with the volumes of its sandbox.
func (s *sandbox) mounts(specs []container.Mount) ([]treeMount, error) {
	var list []treeMount
	for _, m := range specs {
		t := s.volumes[m.Volume]
		if t == nil {
			return nil, fmt.Errorf("mount %s: there is no volume %s", m.Path, m.Volume)
		}
		readOnly := m.ReadOnly
		for _, v := range s.spec.Volumes {
			readOnly = readOnly || v.Name == m.Volume && v.ReadOnly
		}
		list = append(list, treeMount{path.Clean(m.Path), t, path.Join("/", m.SubPath), readOnly})
	}
	return list, nil
}

// Archive keeps a copy of a volume.
func (s *sandbox) Archive(ctx context.Context, volume string, limit int64) (container.Archive, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := s.volumes[volume]
	if t == nil {
		return nil, fmt.Errorf("there is no volume %s", volume)
	}
	a := t.archive()
	if limit > 0 && a.size > limit {
		return nil, &container.SizeError{Limit: limit}
	}
	return a, nil
}
