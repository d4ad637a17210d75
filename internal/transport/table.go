package transport

import (
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	pollTimeout     = 15 * time.Second
	deleteMargin    = 10 * time.Second // on top of the grace
	snapshotTimeout = 600 * time.Second
	snapshotMargin  = 35 * time.Second // on top of the grace and of the snapshot
)

// methods holds every method of the contract.
var methods = map[string]rule{
	sandboxv1.SandboxService_CreateSandbox_FullMethodName:             {class: token, adjust: withRequestID},
	sandboxv1.SandboxService_CreateSandboxFromTemplate_FullMethodName: {class: token, adjust: withRequestID},
	sandboxv1.SandboxService_CreateSandboxFromFile_FullMethodName:     {class: token, adjust: withRequestID},
	sandboxv1.SandboxService_GetSandbox_FullMethodName:                {class: read, attempt: pollTimeout},
	sandboxv1.SandboxService_ListSandboxes_FullMethodName:             {class: read},
	sandboxv1.SandboxService_DeleteSandbox_FullMethodName:             {class: remove, adjust: deleteSandbox},
	sandboxv1.SandboxService_PurgeSandboxes_FullMethodName:            {class: never, adjust: purgeSandboxes},
	sandboxv1.SandboxService_ConnectSandbox_FullMethodName:            {class: never},

	sandboxv1.SandboxService_Exec_FullMethodName:       {class: never, route: dataRoute},
	sandboxv1.SandboxService_StreamExec_FullMethodName: {class: never, route: dataRoute},
	sandboxv1.SandboxService_StreamLogs_FullMethodName: {class: never, route: dataRoute},
	sandboxv1.SandboxService_WriteFile_FullMethodName:  {class: never, route: dataRoute},
	sandboxv1.SandboxService_ReadFile_FullMethodName:   {class: read, route: dataRoute},

	sandboxv1.SandboxService_CreateFileSystemSnapshot_FullMethodName: {class: token, adjust: withRequestID},
	sandboxv1.SandboxService_GetFileSystemSnapshot_FullMethodName:    {class: read, attempt: pollTimeout},
	sandboxv1.SandboxService_ListFileSystemSnapshots_FullMethodName:  {class: read},
	sandboxv1.SandboxService_DeleteFileSystemSnapshot_FullMethodName: {class: remove},

	sandboxv1.SandboxDataPlaneService_Exec_FullMethodName:       {class: never, route: dataRoute},
	sandboxv1.SandboxDataPlaneService_StreamExec_FullMethodName: {class: never, route: dataRoute},
	sandboxv1.SandboxDataPlaneService_StreamLogs_FullMethodName: {class: never, route: dataRoute},
	sandboxv1.SandboxDataPlaneService_WriteFile_FullMethodName:  {class: never, route: dataRoute},
	sandboxv1.SandboxDataPlaneService_ReadFile_FullMethodName:   {class: read, route: dataRoute},

	sandboxv1.SandboxTemplateService_CreateSandboxTemplate_FullMethodName: {class: token, route: controlRoute, adjust: withRequestID},
	sandboxv1.SandboxTemplateService_GetSandboxTemplate_FullMethodName:    {class: read, route: controlRoute},
	sandboxv1.SandboxTemplateService_ListSandboxTemplates_FullMethodName:  {class: read, route: controlRoute},
	sandboxv1.SandboxTemplateService_UpdateSandboxTemplate_FullMethodName: {class: write, route: controlRoute},
	sandboxv1.SandboxTemplateService_DeleteSandboxTemplate_FullMethodName: {class: remove, route: controlRoute},

	sandboxv1.VolumeService_CreateVolume_FullMethodName:   {class: token, adjust: withRequestID},
	sandboxv1.VolumeService_GetVolume_FullMethodName:      {class: read},
	sandboxv1.VolumeService_ListVolumes_FullMethodName:    {class: read},
	sandboxv1.VolumeService_UpdateVolume_FullMethodName:   {class: write},
	sandboxv1.VolumeService_DeleteVolume_FullMethodName:   {class: remove},
	sandboxv1.VolumeService_ValidateVolume_FullMethodName: {class: read},

	sandboxv1.DiscoveryService_ListAvailableRunners_FullMethodName: {class: read},
	sandboxv1.DiscoveryService_GetAvailableRunner_FullMethodName:   {class: read},

	sandboxv1.SettingsService_GetObjectStorageWifConfig_FullMethodName:            {class: read},
	sandboxv1.SettingsService_UpdateObjectStorageWifConfig_FullMethodName:         {class: write},
	sandboxv1.SettingsService_DeleteObjectStorageWifConfig_FullMethodName:         {class: remove},
	sandboxv1.SettingsService_GetFileSystemSnapshotBucketConfig_FullMethodName:    {class: read},
	sandboxv1.SettingsService_UpdateFileSystemSnapshotBucketConfig_FullMethodName: {class: write},
	sandboxv1.SettingsService_GetBuildStorageConfig_FullMethodName:                {class: read},
	sandboxv1.SettingsService_UpdateBuildStorageConfig_FullMethodName:             {class: write, adjust: updateBuildStorage},
	sandboxv1.SettingsService_CreateSecretStore_FullMethodName:                    {class: token, adjust: withRequestID},
	sandboxv1.SettingsService_GetSecretStore_FullMethodName:                       {class: read},
	sandboxv1.SettingsService_ListSecretStores_FullMethodName:                     {class: read},
	sandboxv1.SettingsService_UpdateSecretStore_FullMethodName:                    {class: write},
	sandboxv1.SettingsService_DeleteSecretStore_FullMethodName:                    {class: remove},
}

// withRequestID forbids repeats of a request that the service could not recognize.
func withRequestID(r rule, request any) rule {
	if q, ok := request.(interface{ GetRequestId() string }); !ok || q.GetRequestId() == "" {
		r.class = never
	}
	return r
}

// deleteSandbox sizes an attempt by what the service does before it answers. A delete that takes snapshots would take
// them twice, so it needs a request id.
func deleteSandbox(r rule, request any) rule {
	q, _ := request.(*sandboxv1.DeleteSandboxRequest)
	grace := time.Duration(max(0, q.GetGracePeriodSeconds())) * time.Second
	if len(q.GetSnapshotVolumes()) == 0 {
		r.attempt, r.gated = grace+deleteMargin, true
		return r
	}
	r.class, r.attempt = token, snapshotTimeout+grace+snapshotMargin
	return withRequestID(r, request)
}

// purgeSandboxes lets a dry run be repeated, which only counts.
func purgeSandboxes(r rule, request any) rule {
	if q, _ := request.(*sandboxv1.PurgeSandboxesRequest); q.GetDryRun() {
		r.class = read
	}
	return r
}

// updateBuildStorage forbids repeats of an update that is bound to a revision: the second one would find its own first.
func updateBuildStorage(r rule, request any) rule {
	if q, _ := request.(*sandboxv1.UpdateBuildStorageConfigRequest); q.GetBuildStorageConfig().GetEtag() != "" {
		r.class = never
	}
	return r
}
