package cwsandbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// resourcesError is the error of a create with r.
func resourcesError(r Resources) error {
	_, err := newCreateConfig("create", environment{}, nil, []Option{WithResources(r)})
	return err
}

func TestResources(t *testing.T) {
	cpu := func(amount string) ResourceList { return ResourceList{CPU: amount} }

	t.Run("K-092", func(t *testing.T) {
		for _, bad := range []string{"-1", "1e3Mi", "NaN", "+1", "1_0", " 1", "1 Gi", "Infinity", "1Zi"} {
			err := resourcesError(Resources{Requests: cpu(bad)})
			require.ErrorIs(t, err, ErrInvalidArgument, bad)
			assert.ErrorContains(t, err, "resource_requirements.requests.cpu: ")
			assert.ErrorContains(t, err, bad)
			assert.NotContains(t, err.Error(), "limits", "one fault is told once")
			assert.ErrorContains(t, resourcesError(Resources{Limits: ResourceList{Memory: bad}}), "resource_requirements.limits.memory: ")
		}
		for _, good := range []string{"2.5", "500m", "1Gi"} {
			_, c := sent(t, nil, []Option{WithResources(Resources{Requests: cpu(good)})})
			assert.Equal(t, good, c.GetResourceRequirements().GetRequests().GetCpu())
		}
		_, c := sent(t, nil, []Option{WithResources(Resources{Requests: cpu("")})})
		assert.Nil(t, c.GetResourceRequirements(), "an empty string asks for nothing")
	})
	t.Run("K-093", func(t *testing.T) {
		err := resourcesError(Resources{Requests: cpu("2"), Limits: cpu("1500m")})
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, `requests.cpu: must not exceed the limit, "2" is more than "1500m"`)
		assert.NoError(t, resourcesError(Resources{Requests: cpu("1500m"), Limits: cpu("1.5")}))
		assert.Error(t, resourcesError(Resources{Requests: ResourceList{Memory: "1Gi"}, Limits: ResourceList{Memory: "1G"}}))

		for _, one := range []Resources{{Requests: cpu("2")}, {Limits: cpu("2")}} {
			_, c := sent(t, nil, []Option{WithResources(one)})
			assert.Equal(t, "2", c.GetResourceRequirements().GetRequests().GetCpu())
			assert.Equal(t, "2", c.GetResourceRequirements().GetLimits().GetCpu())
		}
		_, c := sent(t, nil, []Option{WithResources(Resources{Requests: cpu("1"), Limits: ResourceList{Memory: "1Gi"}})})
		assert.Empty(t, c.GetResourceRequirements().GetLimits().GetCpu(), "two given sides are left alone")
		assert.Empty(t, c.GetResourceRequirements().GetRequests().GetMemory())
	})
	t.Run("K-094", func(t *testing.T) {
		for _, row := range []struct {
			gpu  GPU
			want string
		}{
			{GPU{}, "gpu.count: must be at least 1, is 0"},
			{GPU{Count: -1, Type: "H100"}, "gpu.count: must be at least 1, is -1"},
			{GPU{Count: 1, Type: "H100", MemoryGB: 80}, "gpu: must be chosen by type or by memory"},
			{GPU{Count: 1, MemoryGB: -1}, "gpu.memory_gb: must not be negative, is -1"},
			{GPU{Count: 1, Type: "\xff"}, "gpu.type: must be valid UTF-8"},
		} {
			err := resourcesError(Resources{GPU: &row.gpu})
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, row.want)
		}
	})
	t.Run("a GPU by memory, alone", func(t *testing.T) {
		_, c := sent(t, nil, []Option{WithResources(Resources{GPU: &GPU{Count: 2, MemoryGB: 80}})})
		both := c.GetResourceRequirements()
		for _, gpu := range []*sandboxv1.Gpu{both.GetRequests().GetGpu(), both.GetLimits().GetGpu()} {
			assert.Equal(t, int64(2), gpu.GetCount())
			assert.Equal(t, int64(80), gpu.GetMemoryGb())
			assert.Empty(t, gpu.GetType())
		}
	})
}
