package localserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func scratchOf(name string, v *sandboxv1.ScratchVolume) func(*spec) {
	return func(s *spec) {
		s.Volumes = append(s.Volumes, &sandboxv1.SandboxVolume{Name: name, Source: &sandboxv1.SandboxVolume_Scratch{Scratch: v}})
	}
}

func mountedAt(volume string, paths ...string) func(*spec) {
	return mainContainer(func(c *ctnr) {
		for _, path := range paths {
			c.VolumeMounts = append(c.VolumeMounts, &sandboxv1.VolumeMount{Volume: volume, MountPath: path})
		}
	})
}

// allOf applies changes one after the other.
func allOf(changes ...func(*spec)) func(*spec) {
	return func(s *spec) {
		for _, change := range changes {
			change(s)
		}
	}
}

func TestWhatSandboxesAskForIsChecked(t *testing.T) {
	const at = "spec.containers[0]."
	t.Run("C-080", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			var faults []createFault
			for _, path := range []string{
				"v", "/", "/a/../b", "/a/", "/" + strings.Repeat("x", 256), "/proc/x", "/sys", "/dev/shm", "/etc", "/var/run/secrets/x",
				"/shared/credentials", "/mounted/file", "/mounted", "/mounted/file/below", "/other/file",
			} {
				faults = append(faults, createFault{"mount " + path, allOf(scratchOf("v", &sandboxv1.ScratchVolume{}), mountedAt("v", path),
					mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "/mounted/file"}, {Path: "/x/../other//file"}} }),
				), badField(at + "volume_mounts[0].mount_path")})
			}
			w.requireCreateFaults(append(faults, createFault{"repeated",
				allOf(scratchOf("v", &sandboxv1.ScratchVolume{}), mountedAt("v", "/v", "/v")), badField(at + "volume_mounts[1].mount_path")}))
			w.create(scratchOf("v", &sandboxv1.ScratchVolume{}), mountedAt("v", "/"+strings.Repeat("x", 255), "/v", "/v/below", "/etcetera"))
		})
	})
	t.Run("C-081", func(t *testing.T) {
		const memory, disk = sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY, sandboxv1.StorageMedium_STORAGE_MEDIUM_DISK
		inWorld(t, Options{}, func(w *world) {
			var faults []createFault
			for _, v := range []*sandboxv1.ScratchVolume{
				{Medium: memory}, {Medium: memory, Size: "0%"}, {Medium: memory, Size: "101%"}, {Medium: memory, Size: "x"}, {Medium: memory, Size: "+50%"},
				{Medium: disk, Size: "50%"}, {Size: "50%"},
			} {
				faults = append(faults, createFault{v.String(), scratchOf("v", v), badField("spec.volumes[0].scratch.size")})
			}
			w.requireCreateFaults(faults)
			for percent, size := range map[string]string{"50%": "512Mi", "25%": "256Mi", "1%": "10737418", "100%": "1Gi"} {
				sb := w.create(scratchOf("v", &sandboxv1.ScratchVolume{Medium: memory, Size: percent})) // of 1Gi, by default
				assert.Equal(t, size, sb.GetSpec().GetVolumes()[0].GetScratch().GetSize())
			}
		})
	})
	t.Run("C-083", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			var many [][3]string
			for i := range 51 {
				many = append(many, [3]string{"p", "", fmt.Sprint("A", i)})
			}
			w.requireCreateFaults([]createFault{
				{"51 secrets", withSecrets(secretsFrom("s", many...)), badField(at + "secret_stores")},
				{"repeated variable", withSecrets(secretsFrom("s", many[0], many[0])), badField(at + "secret_stores[0].secrets[1].env_var")},
				{"unknown store", withSecrets(secretsFrom("nowhere", many[:50]...)), noSecretStoreFor},
			})
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(withSecrets(secretsFrom("nowhere", many[0])))))
			assert.Equal(t, map[string]string{"store_name": "nowhere"}, w.info(err).GetMetadata())
		})
	})
	t.Run("C-084", func(t *testing.T) {
		secured := func(sc *sandboxv1.SecurityContext) func(*spec) {
			return mainContainer(func(c *ctnr) { c.SecurityContext = sc })
		}
		inWorld(t, Options{}, func(w *world) {
			w.requireCreateFaults([]createFault{
				{"privileged", secured(&sandboxv1.SecurityContext{Privileged: new(true)}), badField(at + "security_context.privileged")},
				{"capability", secured(&sandboxv1.SecurityContext{CapabilitiesAdd: []string{"NET_ADMIN"}}), badField(at + "security_context.capabilities_add[0]")},
			})
			w.run(secured(&sandboxv1.SecurityContext{CapabilitiesDrop: []string{"NET_RAW"}}))
		})
	})
}
