package localserver

import (
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// runnerRetry is when a client should ask again for a runner that is not there.
const runnerRetry = time.Second

// admit decides whether a well-formed sandbox can be had here.
func (s *Server) admit(spec *sandboxv1.SandboxSpec, demands []demand) error {
	if err := s.checkCeiling(demands); err != nil {
		return err
	}
	if slices.ContainsFunc(demands, func(d demand) bool { return d.gpu }) {
		return noGPU(spec.GetMode())
	}
	if spec.GetNetwork().GetDenyEgress() && s.opt.Runtime.Isolation() == "plain" {
		return noHost("egress", "without isolation the network of a sandbox cannot be closed")
	}
	if ids := spec.GetRunnerIds(); len(ids) > 0 && !slices.Contains(ids, runnerID) {
		return refusal{
			code:       codes.Unavailable,
			reason:     reasonRunnerUnavailable,
			text:       "none of the named runners is available",
			retryAfter: runnerRetry,
		}.err()
	}
	return nil
}

func noGPU(mode sandboxv1.SandboxMode) error {
	if mode == sandboxv1.SandboxMode_SANDBOX_MODE_CKS {
		return noHost("gpu", "no runner has GPUs")
	}
	return refusal{
		code:   codes.FailedPrecondition,
		reason: reasonGPUNotAllowed,
		text:   "GPUs are not allowed in serverless mode",
	}.err()
}
