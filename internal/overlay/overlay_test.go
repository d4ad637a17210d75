package overlay

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// TestFieldsAreTheSame holds what Put relies on, in both directions.
func TestFieldsAreTheSame(t *testing.T) {
	for _, pair := range [][2]proto.Message{
		{&sandboxv1.SandboxSpec{}, &sandboxv1.PartialSandboxSpec{}},
		{&sandboxv1.Container{}, &sandboxv1.PartialContainer{}},
	} {
		shapes := func(m proto.Message) map[protoreflect.FieldNumber]string {
			of := make(map[protoreflect.FieldNumber]string)
			fields := m.ProtoReflect().Descriptor().Fields()
			for i := range fields.Len() {
				f := fields.Get(i)
				shape := string(f.Name()) + " " + f.Cardinality().String() + " " + f.Kind().String()
				if m := f.Message(); m != nil && !f.IsMap() && f.Name() != "containers" {
					shape += " " + string(m.FullName())
				}
				of[f.Number()] = shape
			}
			return of
		}
		assert.Equal(t, shapes(pair[0]), shapes(pair[1]))
	}
}

func TestPut(t *testing.T) {
	base := &sandboxv1.PartialSandboxSpec{
		Containers: []*sandboxv1.PartialContainer{
			{Name: "a", Image: "i", EnvironmentVariables: map[string]string{"A": "1"}, Primary: proto.Bool(false)},
			{Name: "b", Files: []*sandboxv1.FileMount{{Path: "/f"}}},
		},
		Tags:               []string{"x", "y"},
		Annotations:        map[string]string{"k": "v", "l": "w"},
		MaxLifetimeSeconds: 60,
		Network:            &sandboxv1.NetworkOptions{DenyEgress: proto.Bool(true)},
	}
	spec := new(sandboxv1.SandboxSpec)
	Put(spec, proto.Clone(base))
	want := &sandboxv1.SandboxSpec{
		Containers: []*sandboxv1.Container{
			{Name: "a", Image: "i", EnvironmentVariables: map[string]string{"A": "1"}, Primary: proto.Bool(false)},
			{Name: "b", Files: []*sandboxv1.FileMount{{Path: "/f"}}},
		},
		Tags:               []string{"x", "y"},
		Annotations:        map[string]string{"k": "v", "l": "w"},
		MaxLifetimeSeconds: 60,
		Network:            &sandboxv1.NetworkOptions{DenyEgress: proto.Bool(true)},
	}
	assert.True(t, proto.Equal(want, spec), "%v", spec)

	Put(spec, &sandboxv1.PartialSandboxSpec{
		Containers:  []*sandboxv1.PartialContainer{{Name: "c", Image: "j"}},
		Annotations: map[string]string{"m": "x"},
		Network:     &sandboxv1.NetworkOptions{},
		RunnerIds:   []string{"r"},
	})
	want = &sandboxv1.SandboxSpec{
		Containers:         []*sandboxv1.Container{{Name: "c", Image: "j"}},
		Tags:               []string{"x", "y"},
		Annotations:        map[string]string{"m": "x"},
		MaxLifetimeSeconds: 60,
		Network:            &sandboxv1.NetworkOptions{},
		RunnerIds:          []string{"r"},
	}
	assert.True(t, proto.Equal(want, spec), "%v", spec)
}
