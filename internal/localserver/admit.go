package localserver

import (
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// runnerRetry is when a client should ask again for a runner that is not there.
const runnerRetry = time.Second

// admit decides whether a well-formed sandbox can be had here: whether it is allowed, and then whether there is a place for it.
func (s *Server) admit(spec *sandboxv1.SandboxSpec, demands []demand) error {
	if err := s.checkCeiling(demands); err != nil {
		return err
	}
	if s.opt.NoServerless && spec.GetMode() != sandboxv1.SandboxMode_SANDBOX_MODE_CKS {
		return refusal{
			code:   codes.FailedPrecondition,
			reason: reasonServerlessNotAllowed,
			text:   "serverless sandboxes are not allowed here",
		}.err()
	}
	if slices.ContainsFunc(demands, func(d demand) bool { return d.gpu }) {
		return noGPU(spec.GetMode())
	}
	if s.opt.NoShareTokens && needsShareToken(spec) {
		return refusal{
			code:   codes.FailedPrecondition,
			reason: reasonNoShareTokens,
			text:   "no runner offers endpoints with a share token",
		}.err()
	}
	if err := s.admitNetwork(spec.GetNetwork()); err != nil {
		return err
	}
	if err := s.admitSecurity(spec); err != nil {
		return err
	}
	if err := s.admitVolumes(spec); err != nil {
		return err
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
