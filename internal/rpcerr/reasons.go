package rpcerr

// Reasons that decide by themselves whether a call is worth repeating, whatever the code beside them. Any other reason
// leaves that to the code.
const (
	ReasonSandboxNotFound             = "CWSANDBOX_SANDBOX_NOT_FOUND"
	ReasonRunnerNotFound              = "CWSANDBOX_RUNNER_NOT_FOUND"
	ReasonFSSNotFound                 = "CWSANDBOX_FSS_NOT_FOUND"
	ReasonVolumeNotFound              = "CWSANDBOX_VOLUME_NOT_FOUND"
	ReasonSandboxNotRunning           = "CWSANDBOX_SANDBOX_NOT_RUNNING"
	ReasonSandboxNotTerminal          = "CWSANDBOX_SANDBOX_NOT_TERMINAL"
	ReasonLogsNotEnabled              = "CWSANDBOX_LOGS_NOT_ENABLED"
	ReasonLogsDeleted                 = "CWSANDBOX_LOGS_DELETED"
	ReasonInvalidRequest              = "CWSANDBOX_INVALID_REQUEST"
	ReasonResourceCeilingExceeded     = "CWSANDBOX_RESOURCE_CEILING_EXCEEDED"
	ReasonNotImplemented              = "CWSANDBOX_NOT_IMPLEMENTED"
	ReasonFSSNotSupported             = "CWSANDBOX_FSS_NOT_SUPPORTED"
	ReasonVolumeTypeNotSupported      = "CWSANDBOX_VOLUME_TYPE_NOT_SUPPORTED"
	ReasonHTTPSShareTokenNotSupported = "CWSANDBOX_HTTPS_SHARE_TOKEN_NOT_SUPPORTED"
	ReasonCommandTimeout              = "CWSANDBOX_COMMAND_TIMEOUT"
	ReasonRunnerUnavailable           = "CWSANDBOX_RUNNER_UNAVAILABLE"
	ReasonBackendUnavailable          = "CWSANDBOX_BACKEND_UNAVAILABLE"
	ReasonSandboxRouteUnavailable     = "CWSANDBOX_SANDBOX_ROUTE_UNAVAILABLE"
	ReasonRunnerShardRetiring         = "CWSANDBOX_RUNNER_SHARD_RETIRING"
	ReasonVolumeRunnerUnavailable     = "CWSANDBOX_VOLUME_RUNNER_UNAVAILABLE"
	ReasonRunnerCapacityExhausted     = "CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED"
	ReasonRunnerOverloaded            = "CWSANDBOX_RUNNER_OVERLOADED"
	ReasonNoSuitableRunner            = "CWSANDBOX_NO_SUITABLE_RUNNER"
	ReasonPlacementRejected           = "CWSANDBOX_PLACEMENT_REJECTED"
	ReasonPlacementUnsatisfied        = "CWSANDBOX_PLACEMENT_CONSTRAINT_UNSATISFIED"
	ReasonServerlessNotAllowed        = "CWSANDBOX_SERVERLESS_NOT_ALLOWED"
	ReasonServerlessDisabled          = "CWSANDBOX_SERVERLESS_DISABLED"
	ReasonServerlessMisconfigured     = "CWSANDBOX_SERVERLESS_MISCONFIGURED"
	ReasonGPUNotAllowed               = "CWSANDBOX_GPU_NOT_ALLOWED"
	ReasonSecretStoreNotProvisioned   = "CWSANDBOX_SECRET_STORE_NOT_PROVISIONED"
	ReasonFileNotFound                = "CWSANDBOX_FILE_NOT_FOUND"
	ReasonFileIsDirectory             = "CWSANDBOX_FILE_IS_DIRECTORY"
	ReasonFilePermissionDenied        = "CWSANDBOX_FILE_PERMISSION_DENIED"
	ReasonFileIOFailed                = "CWSANDBOX_FILE_IO_FAILED"
	ReasonFileTooLarge                = "CWSANDBOX_FILE_TOO_LARGE"
	ReasonFileTruncated               = "CWSANDBOX_FILE_TRUNCATED"
	ReasonFSSNotReady                 = "CWSANDBOX_FSS_NOT_READY"
	ReasonVolumeNotReady              = "CWSANDBOX_VOLUME_NOT_READY"
	ReasonVolumeRunnerIneligible      = "CWSANDBOX_VOLUME_RUNNER_INELIGIBLE"
	ReasonVolumeNotSnapshottable      = "CWSANDBOX_VOLUME_NOT_SNAPSHOTTABLE"
	ReasonVolumeBackendNotFound       = "CWSANDBOX_VOLUME_BACKEND_NOT_FOUND"
	ReasonVolumePlacementConflict     = "CWSANDBOX_VOLUME_PLACEMENT_CONFLICT"
	ReasonFSSBucketMismatch           = "CWSANDBOX_FSS_BUCKET_MISMATCH"
	ReasonFSSSizeExceeded             = "CWSANDBOX_FSS_SIZE_EXCEEDED"
	ReasonFSSQuotaExceeded            = "CWSANDBOX_FSS_QUOTA_EXCEEDED"
	ReasonVolumeQuotaExceeded         = "CWSANDBOX_VOLUME_QUOTA_EXCEEDED"
	ReasonVolumeInUse                 = "CWSANDBOX_VOLUME_IN_USE"
	ReasonETagMismatch                = "CWSANDBOX_ETAG_MISMATCH"
	ReasonFSSBackendThrottled         = "CWSANDBOX_FSS_BACKEND_THROTTLED"
	ReasonFSSInflightLimit            = "CWSANDBOX_FSS_INFLIGHT_LIMIT"
	ReasonFSSBucketProvisioning       = "CWSANDBOX_FSS_BUCKET_PROVISIONING"
	ReasonFSSWaitTimeout              = "CWSANDBOX_FSS_WAIT_TIMEOUT"
	ReasonFSSBucketUnavailable        = "CWSANDBOX_FSS_BUCKET_UNAVAILABLE"
	ReasonFSSRestoreFailed            = "CWSANDBOX_FSS_RESTORE_FAILED"
	ReasonFSSCreateFailed             = "CWSANDBOX_FSS_CREATE_FAILED"
	ReasonFSSCreateTimedOut           = "CWSANDBOX_FSS_CREATE_TIMED_OUT"
	ReasonFSSAuthFailed               = "CWSANDBOX_FSS_AUTH_FAILED"
	ReasonFSSTransportFailed          = "CWSANDBOX_FSS_TRANSPORT_FAILED"
	ReasonFSSCanceled                 = "CWSANDBOX_FSS_CANCELED"
)

// transientReasons maps each reason that decides to whether the failure may pass by itself.
var transientReasons = map[string]bool{
	ReasonRunnerUnavailable:       true,
	ReasonBackendUnavailable:      true,
	ReasonSandboxRouteUnavailable: true,
	ReasonRunnerShardRetiring:     true,
	ReasonVolumeRunnerUnavailable: true,
	ReasonFSSBackendThrottled:     true,
	ReasonFSSInflightLimit:        true,
	ReasonFSSBucketProvisioning:   true,

	ReasonSandboxNotFound:             false,
	ReasonRunnerNotFound:              false,
	ReasonFSSNotFound:                 false,
	ReasonVolumeNotFound:              false,
	ReasonSandboxNotRunning:           false,
	ReasonSandboxNotTerminal:          false,
	ReasonLogsNotEnabled:              false,
	ReasonLogsDeleted:                 false,
	ReasonInvalidRequest:              false,
	ReasonResourceCeilingExceeded:     false,
	ReasonNotImplemented:              false,
	ReasonFSSNotSupported:             false,
	ReasonVolumeTypeNotSupported:      false,
	ReasonHTTPSShareTokenNotSupported: false,
	ReasonCommandTimeout:              false,
	ReasonRunnerCapacityExhausted:     false,
	ReasonRunnerOverloaded:            false,
	ReasonNoSuitableRunner:            false,
	ReasonPlacementRejected:           false,
	ReasonPlacementUnsatisfied:        false,
	ReasonServerlessNotAllowed:        false,
	ReasonServerlessDisabled:          false,
	ReasonServerlessMisconfigured:     false,
	ReasonGPUNotAllowed:               false,
	ReasonSecretStoreNotProvisioned:   false,
	ReasonFileNotFound:                false,
	ReasonFileIsDirectory:             false,
	ReasonFilePermissionDenied:        false,
	ReasonFileIOFailed:                false,
	ReasonFileTooLarge:                false,
	ReasonFileTruncated:               false,
	ReasonFSSNotReady:                 false,
	ReasonVolumeNotReady:              false,
	ReasonVolumeRunnerIneligible:      false,
	ReasonVolumeNotSnapshottable:      false,
	ReasonVolumeBackendNotFound:       false,
	ReasonVolumePlacementConflict:     false,
	ReasonFSSBucketMismatch:           false,
	ReasonFSSSizeExceeded:             false,
	ReasonFSSQuotaExceeded:            false,
	ReasonVolumeQuotaExceeded:         false,
	ReasonVolumeInUse:                 false,
	ReasonETagMismatch:                false,
	ReasonFSSWaitTimeout:              false,
	ReasonFSSBucketUnavailable:        false,
	ReasonFSSRestoreFailed:            false,
	ReasonFSSCreateFailed:             false,
	ReasonFSSCreateTimedOut:           false,
	ReasonFSSAuthFailed:               false,
	ReasonFSSTransportFailed:          false,
	ReasonFSSCanceled:                 false,
}
