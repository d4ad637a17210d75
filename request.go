package cwsandbox

import (
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// request builds the message of the create. It is built once; every repetition sends the same one.
func (c *createConfig) request(requestID string) *sandboxv1.CreateSandboxRequest {
	spec := &sandboxv1.SandboxSpec{
		Containers:         []*sandboxv1.Container{c.container()},
		MaxLifetimeSeconds: wholeSeconds(c.maxLifetime.value),
		Tags:               c.tags.value,
		Annotations:        values(c.annotations),
		RunnerIds:          c.runners.value,
	}
	if len(spec.RunnerIds) > 0 {
		spec.Mode = sandboxv1.SandboxMode_SANDBOX_MODE_CKS // runners can be named on the caller's own clusters only
	}
	return &sandboxv1.CreateSandboxRequest{
		Sandbox:   &sandboxv1.Sandbox{Spec: spec, DisplayName: c.displayName.value},
		RequestId: requestID,
	}
}

// container is the sandbox's only one, so that nothing has to say that it is the primary one.
func (c *createConfig) container() *sandboxv1.Container {
	container := &sandboxv1.Container{
		Name:                 containerName,
		Image:                c.image.value,
		Command:              c.command.value.name,
		Args:                 c.command.value.args,
		EnvironmentVariables: values(c.env),
		WorkingDir:           c.dir.value,
		ResourceRequirements: c.resources.value.requirements(),
	}
	for _, f := range c.files.value {
		container.Files = append(container.Files, &sandboxv1.FileMount{Path: f.path, Content: f.data})
	}
	return container
}
