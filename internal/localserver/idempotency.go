package localserver

import (
	"crypto/sha256"

	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A requestKey identifies a create that may be repeated. It lives as long as the record that it made.
type requestKey struct {
	user, organization string
	method             string
	requestID          string
}

// createReplay is what a repeated create is answered from.
type createReplay struct {
	content [sha256.Size]byte
	record  *record
}

// fingerprint identifies the content of a create, unknown fields included, without its request id.
func fingerprint(req *sandboxv1.CreateSandboxRequest) ([sha256.Size]byte, error) {
	content := &sandboxv1.CreateSandboxRequest{Sandbox: req.GetSandbox()}
	content.ProtoReflect().SetUnknown(req.ProtoReflect().GetUnknown())
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(content)
	return sha256.Sum256(data), err
}
