package cwsandbox

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// createRequest is the message of a create, of any of the methods that make sandboxes.
type createRequest interface {
	proto.Message
	GetRequestId() string
}

// request builds the message of the create. It is built once; every repetition sends the same one.
func (c *createConfig) request(requestID string) createRequest {
	switch {
	case c.origin.template != "":
		return c.fromTemplate(requestID)
	case c.origin.compose != nil:
		return c.fromFile(requestID)
	}
	return &sandboxv1.CreateSandboxRequest{
		Sandbox:   &sandboxv1.Sandbox{Spec: c.spec(), DisplayName: c.displayName.value},
		RequestId: requestID,
	}
}

// sendCreate calls the method that a message of a create is for.
func (c *Client) sendCreate(ctx context.Context, req createRequest, opts ...grpc.CallOption) (*sandboxv1.Sandbox, error) {
	switch req := req.(type) {
	case *sandboxv1.CreateSandboxFromTemplateRequest:
		return c.sandboxes.CreateSandboxFromTemplate(ctx, req, opts...)
	case *sandboxv1.CreateSandboxFromFileRequest:
		return c.sandboxes.CreateSandboxFromFile(ctx, req, opts...)
	}
	return c.sandboxes.CreateSandbox(ctx, req.(*sandboxv1.CreateSandboxRequest), opts...)
}

// spec is what the options say about the sandbox.
func (c *createConfig) spec() *sandboxv1.SandboxSpec {
	return &sandboxv1.SandboxSpec{
		Containers:         c.messages(),
		MaxLifetimeSeconds: wholeSeconds(c.maxLifetime.value),
		Tags:               c.tags.value,
		Annotations:        values(c.annotations),
		RunnerIds:          c.runners.value,
		Mode:               sandboxv1.SandboxMode(c.mode()),
		Network:            c.network.value.message(),
		RuntimeClass:       c.runtimeClass.value,
		InstanceType:       c.instanceType.value,
		Services:           serviceMessages(c.services.value),

		Volumes:             volumeMessages(c.volumes.value.volumes),
		ObjectStorageAccess: c.objectStorage.value.message(),
	}
}
