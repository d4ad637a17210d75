package localserver

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// volumes checks the declared volumes.
func (c *checker) volumes(spec *sandboxv1.SandboxSpec) {
	names := make(map[string]bool)
	for i, v := range spec.GetVolumes() {
		at := fmt.Sprintf("spec.volumes[%d].", i)
		c.require(validVolumeName(v.GetName()), at+"name", "must be 1 to 63 letters, digits, underscores and dashes")
		c.require(!names[v.GetName()], at+"name", "must not be used twice")
		names[v.GetName()] = true
		c.require(validMedium(v.GetScratch().GetMedium()), at+"scratch.medium", "must be STORAGE_MEDIUM_DISK or STORAGE_MEDIUM_MEMORY")
		c.scratchSize(at+"scratch.size", v.GetScratch())
	}
}

func validMedium(m sandboxv1.StorageMedium) bool {
	return m == sandboxv1.StorageMedium_STORAGE_MEDIUM_UNSPECIFIED || m == sandboxv1.StorageMedium_STORAGE_MEDIUM_DISK ||
		m == sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY
}

func (c *checker) scratchSize(field string, v *sandboxv1.ScratchVolume) {
	memory := v.GetMedium() == sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY
	size := v.GetSize()
	if size == "" {
		c.require(!memory, field, "must be set for memory")
		return
	}
	percent, isPercent := strings.CutSuffix(size, "%")
	if !isPercent {
		amount, err := quantity.ParseWire(size)
		c.require(err == nil, field, "must be a quantity such as 10Gi")
		c.require(err != nil || !memory || !amount.IsZero(), field, "must not be zero for memory")
		return
	}
	n, err := strconv.Atoi(percent)
	c.require(memory, field, "must not be a percentage on disk")
	c.require(err == nil && n >= 1 && n <= 100 && percent == strconv.Itoa(n), field, "must be between 1%% and 100%%")
}

func validVolumeName(name string) bool {
	if name == "" || len(name) > 63 {
		return false
	}
	for i := range len(name) {
		if !alphanumeric(name[i]) && name[i] != '_' && name[i] != '-' {
			return false
		}
	}
	return true
}

// reservedMounts are the directories that nothing can be mounted at or below.
var reservedMounts = []string{"/proc", "/sys", "/dev", "/var/run/secrets", "/shared/credentials", "/etc"}

// mounts checks where a container wants to see volumes.
func (c *checker) mounts(at string, spec *sandboxv1.SandboxSpec, ct *sandboxv1.Container) {
	paths := make(map[string]bool)
	for j, m := range ct.GetVolumeMounts() {
		at := fmt.Sprintf("%svolume_mounts[%d].", at, j)
		p := m.GetMountPath()
		c.require(validMountPath(p), at+"mount_path", "must be an absolute, canonical path below / of at most 256 characters, outside system directories")
		c.require(!paths[p], at+"mount_path", "must not be used twice")
		paths[p] = true
		for _, f := range ct.GetFiles() {
			file := path.Clean(f.GetPath())
			c.require(!within(p, file) && !within(file, p), at+"mount_path", "must not overlap with a mounted file")
		}
		scratch, registered := declared(spec, m.GetVolume())
		c.require(scratch || registered, at+"volume", "must name a declared volume")
		c.require(validSubPath(m.GetSubPath()), at+"sub_path", "must be a relative path without dot segments")
	}
}

func validMountPath(p string) bool {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || len([]rune(p)) > 256 || hasNUL(p) {
		return false
	}
	for _, dir := range reservedMounts {
		if within(dir, p) {
			return false
		}
	}
	return true
}

// within reports whether p is dir or lies below it.
func within(dir, p string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }
