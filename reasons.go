package cwsandbox

import "github.com/cwsandbox/cwsandbox-go/internal/rpcerr"

// Reason is the service's own name for what went wrong. A reason that this version does not know is kept as it came; see
// [HasReason].
type Reason string

// The reasons that the service is known to give.
const (
	ReasonSandboxNotFound             Reason = rpcerr.ReasonSandboxNotFound
	ReasonRunnerNotFound              Reason = rpcerr.ReasonRunnerNotFound
	ReasonFSSNotFound                 Reason = rpcerr.ReasonFSSNotFound
	ReasonVolumeNotFound              Reason = rpcerr.ReasonVolumeNotFound
	ReasonSandboxNotRunning           Reason = rpcerr.ReasonSandboxNotRunning
	ReasonSandboxNotTerminal          Reason = rpcerr.ReasonSandboxNotTerminal
	ReasonLogsNotEnabled              Reason = rpcerr.ReasonLogsNotEnabled
	ReasonLogsDeleted                 Reason = rpcerr.ReasonLogsDeleted
	ReasonInvalidRequest              Reason = rpcerr.ReasonInvalidRequest
	ReasonResourceCeilingExceeded     Reason = rpcerr.ReasonResourceCeilingExceeded
	ReasonNotImplemented              Reason = rpcerr.ReasonNotImplemented
	ReasonFSSNotSupported             Reason = rpcerr.ReasonFSSNotSupported
	ReasonVolumeTypeNotSupported      Reason = rpcerr.ReasonVolumeTypeNotSupported
	ReasonHTTPSShareTokenNotSupported Reason = rpcerr.ReasonHTTPSShareTokenNotSupported
	ReasonCommandTimeout              Reason = rpcerr.ReasonCommandTimeout
	ReasonRunnerUnavailable           Reason = rpcerr.ReasonRunnerUnavailable
	ReasonBackendUnavailable          Reason = rpcerr.ReasonBackendUnavailable
	ReasonSandboxRouteUnavailable     Reason = rpcerr.ReasonSandboxRouteUnavailable
	ReasonRunnerShardRetiring         Reason = rpcerr.ReasonRunnerShardRetiring
	ReasonVolumeRunnerUnavailable     Reason = rpcerr.ReasonVolumeRunnerUnavailable
	ReasonRunnerCapacityExhausted     Reason = rpcerr.ReasonRunnerCapacityExhausted
	ReasonRunnerOverloaded            Reason = rpcerr.ReasonRunnerOverloaded
	ReasonNoSuitableRunner            Reason = rpcerr.ReasonNoSuitableRunner
	ReasonPlacementRejected           Reason = rpcerr.ReasonPlacementRejected
	ReasonPlacementUnsatisfied        Reason = rpcerr.ReasonPlacementUnsatisfied
	ReasonServerlessNotAllowed        Reason = rpcerr.ReasonServerlessNotAllowed
	ReasonServerlessDisabled          Reason = rpcerr.ReasonServerlessDisabled
	ReasonServerlessMisconfigured     Reason = rpcerr.ReasonServerlessMisconfigured
	ReasonGPUNotAllowed               Reason = rpcerr.ReasonGPUNotAllowed
	ReasonSecretStoreNotProvisioned   Reason = rpcerr.ReasonSecretStoreNotProvisioned
	ReasonFileNotFound                Reason = rpcerr.ReasonFileNotFound
	ReasonFileIsDirectory             Reason = rpcerr.ReasonFileIsDirectory
	ReasonFilePermissionDenied        Reason = rpcerr.ReasonFilePermissionDenied
	ReasonFileIOFailed                Reason = rpcerr.ReasonFileIOFailed
	ReasonFileTooLarge                Reason = rpcerr.ReasonFileTooLarge
	ReasonFileTruncated               Reason = rpcerr.ReasonFileTruncated
	ReasonFSSNotReady                 Reason = rpcerr.ReasonFSSNotReady
	ReasonVolumeNotReady              Reason = rpcerr.ReasonVolumeNotReady
	ReasonVolumeRunnerIneligible      Reason = rpcerr.ReasonVolumeRunnerIneligible
	ReasonVolumeNotSnapshottable      Reason = rpcerr.ReasonVolumeNotSnapshottable
	ReasonVolumeBackendNotFound       Reason = rpcerr.ReasonVolumeBackendNotFound
	ReasonVolumePlacementConflict     Reason = rpcerr.ReasonVolumePlacementConflict
	ReasonFSSBucketMismatch           Reason = rpcerr.ReasonFSSBucketMismatch
	ReasonFSSSizeExceeded             Reason = rpcerr.ReasonFSSSizeExceeded
	ReasonFSSQuotaExceeded            Reason = rpcerr.ReasonFSSQuotaExceeded
	ReasonVolumeQuotaExceeded         Reason = rpcerr.ReasonVolumeQuotaExceeded
	ReasonVolumeInUse                 Reason = rpcerr.ReasonVolumeInUse
	ReasonETagMismatch                Reason = rpcerr.ReasonETagMismatch
	ReasonFSSBackendThrottled         Reason = rpcerr.ReasonFSSBackendThrottled
	ReasonFSSInflightLimit            Reason = rpcerr.ReasonFSSInflightLimit
	ReasonFSSBucketProvisioning       Reason = rpcerr.ReasonFSSBucketProvisioning
	ReasonFSSWaitTimeout              Reason = rpcerr.ReasonFSSWaitTimeout
	ReasonFSSBucketUnavailable        Reason = rpcerr.ReasonFSSBucketUnavailable
	ReasonFSSRestoreFailed            Reason = rpcerr.ReasonFSSRestoreFailed
	ReasonFSSCreateFailed             Reason = rpcerr.ReasonFSSCreateFailed
	ReasonFSSCreateTimedOut           Reason = rpcerr.ReasonFSSCreateTimedOut
	ReasonFSSAuthFailed               Reason = rpcerr.ReasonFSSAuthFailed
	ReasonFSSTransportFailed          Reason = rpcerr.ReasonFSSTransportFailed
	ReasonFSSCanceled                 Reason = rpcerr.ReasonFSSCanceled
)
