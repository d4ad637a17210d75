package localserver

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The methods in this file are known and not served. They are written out one by one, so that a method that is added
// to the contract breaks the build until somebody has decided about it.

// sandboxService serves sandboxes.
type sandboxService struct {
	sandboxv1.UnsafeSandboxServiceServer
	*Server
}

type (
	templateService struct {
		sandboxv1.UnsafeSandboxTemplateServiceServer
	}
	volumeService struct {
		sandboxv1.UnsafeVolumeServiceServer
	}
	discoveryService struct {
		sandboxv1.UnsafeDiscoveryServiceServer
	}
	settingsService struct {
		sandboxv1.UnsafeSettingsServiceServer
	}
)

func (*sandboxService) CreateSandboxFromTemplate(context.Context, *sandboxv1.CreateSandboxFromTemplateRequest) (*sandboxv1.Sandbox, error) {
	return nil, notServedMethod("CreateSandboxFromTemplate")
}

func (*sandboxService) CreateSandboxFromFile(context.Context, *sandboxv1.CreateSandboxFromFileRequest) (*sandboxv1.Sandbox, error) {
	return nil, notServedMethod("CreateSandboxFromFile")
}

func (*sandboxService) ConnectSandbox(context.Context, *sandboxv1.ConnectSandboxRequest) (*sandboxv1.SandboxConnection, error) {
	return nil, notServedMethod("ConnectSandbox")
}

func (*sandboxService) CreateFileSystemSnapshot(context.Context, *sandboxv1.CreateFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	return nil, notServedMethod("CreateFileSystemSnapshot")
}

func (*sandboxService) GetFileSystemSnapshot(context.Context, *sandboxv1.GetFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	return nil, notServedMethod("GetFileSystemSnapshot")
}

func (*sandboxService) ListFileSystemSnapshots(context.Context, *sandboxv1.ListFileSystemSnapshotsRequest) (*sandboxv1.ListFileSystemSnapshotsResponse, error) {
	return nil, notServedMethod("ListFileSystemSnapshots")
}

func (*sandboxService) DeleteFileSystemSnapshot(context.Context, *sandboxv1.DeleteFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	return nil, notServedMethod("DeleteFileSystemSnapshot")
}

func (templateService) CreateSandboxTemplate(context.Context, *sandboxv1.CreateSandboxTemplateRequest) (*sandboxv1.SandboxTemplate, error) {
	return nil, notServedMethod("CreateSandboxTemplate")
}

func (templateService) GetSandboxTemplate(context.Context, *sandboxv1.GetSandboxTemplateRequest) (*sandboxv1.SandboxTemplate, error) {
	return nil, notServedMethod("GetSandboxTemplate")
}

func (templateService) ListSandboxTemplates(context.Context, *sandboxv1.ListSandboxTemplatesRequest) (*sandboxv1.ListSandboxTemplatesResponse, error) {
	return nil, notServedMethod("ListSandboxTemplates")
}

func (templateService) UpdateSandboxTemplate(context.Context, *sandboxv1.UpdateSandboxTemplateRequest) (*sandboxv1.SandboxTemplate, error) {
	return nil, notServedMethod("UpdateSandboxTemplate")
}

func (templateService) DeleteSandboxTemplate(context.Context, *sandboxv1.DeleteSandboxTemplateRequest) (*emptypb.Empty, error) {
	return nil, notServedMethod("DeleteSandboxTemplate")
}

func (volumeService) CreateVolume(context.Context, *sandboxv1.CreateVolumeRequest) (*sandboxv1.Volume, error) {
	return nil, notServedMethod("CreateVolume")
}

func (volumeService) GetVolume(context.Context, *sandboxv1.GetVolumeRequest) (*sandboxv1.Volume, error) {
	return nil, notServedMethod("GetVolume")
}

func (volumeService) ListVolumes(context.Context, *sandboxv1.ListVolumesRequest) (*sandboxv1.ListVolumesResponse, error) {
	return nil, notServedMethod("ListVolumes")
}

func (volumeService) UpdateVolume(context.Context, *sandboxv1.UpdateVolumeRequest) (*sandboxv1.Volume, error) {
	return nil, notServedMethod("UpdateVolume")
}

func (volumeService) DeleteVolume(context.Context, *sandboxv1.DeleteVolumeRequest) (*sandboxv1.Volume, error) {
	return nil, notServedMethod("DeleteVolume")
}

func (volumeService) ValidateVolume(context.Context, *sandboxv1.ValidateVolumeRequest) (*sandboxv1.Volume, error) {
	return nil, notServedMethod("ValidateVolume")
}

func (discoveryService) ListAvailableRunners(context.Context, *sandboxv1.ListAvailableRunnersRequest) (*sandboxv1.ListAvailableRunnersResponse, error) {
	return nil, notServedMethod("ListAvailableRunners")
}

func (discoveryService) GetAvailableRunner(context.Context, *sandboxv1.GetAvailableRunnerRequest) (*sandboxv1.AvailableRunner, error) {
	return nil, notServedMethod("GetAvailableRunner")
}

func (settingsService) GetBuildStorageConfig(context.Context, *sandboxv1.GetBuildStorageConfigRequest) (*sandboxv1.BuildStorageConfig, error) {
	return nil, notServedMethod("GetBuildStorageConfig")
}

func (settingsService) UpdateBuildStorageConfig(context.Context, *sandboxv1.UpdateBuildStorageConfigRequest) (*sandboxv1.BuildStorageConfig, error) {
	return nil, notServedMethod("UpdateBuildStorageConfig")
}

func (settingsService) GetObjectStorageWifConfig(context.Context, *sandboxv1.GetObjectStorageWifConfigRequest) (*sandboxv1.ObjectStorageWifConfig, error) {
	return nil, notServedMethod("GetObjectStorageWifConfig")
}

func (settingsService) UpdateObjectStorageWifConfig(context.Context, *sandboxv1.UpdateObjectStorageWifConfigRequest) (*sandboxv1.ObjectStorageWifConfig, error) {
	return nil, notServedMethod("UpdateObjectStorageWifConfig")
}

func (settingsService) DeleteObjectStorageWifConfig(context.Context, *sandboxv1.DeleteObjectStorageWifConfigRequest) (*emptypb.Empty, error) {
	return nil, notServedMethod("DeleteObjectStorageWifConfig")
}

func (settingsService) GetFileSystemSnapshotBucketConfig(context.Context, *sandboxv1.GetFileSystemSnapshotBucketConfigRequest) (*sandboxv1.FileSystemSnapshotBucketConfig, error) {
	return nil, notServedMethod("GetFileSystemSnapshotBucketConfig")
}

func (settingsService) UpdateFileSystemSnapshotBucketConfig(context.Context, *sandboxv1.UpdateFileSystemSnapshotBucketConfigRequest) (*sandboxv1.FileSystemSnapshotBucketConfig, error) {
	return nil, notServedMethod("UpdateFileSystemSnapshotBucketConfig")
}

func (settingsService) CreateSecretStore(context.Context, *sandboxv1.CreateSecretStoreRequest) (*sandboxv1.SecretStore, error) {
	return nil, notServedMethod("CreateSecretStore")
}

func (settingsService) GetSecretStore(context.Context, *sandboxv1.GetSecretStoreRequest) (*sandboxv1.SecretStore, error) {
	return nil, notServedMethod("GetSecretStore")
}

func (settingsService) ListSecretStores(context.Context, *sandboxv1.ListSecretStoresRequest) (*sandboxv1.ListSecretStoresResponse, error) {
	return nil, notServedMethod("ListSecretStores")
}

func (settingsService) UpdateSecretStore(context.Context, *sandboxv1.UpdateSecretStoreRequest) (*sandboxv1.SecretStore, error) {
	return nil, notServedMethod("UpdateSecretStore")
}

func (settingsService) DeleteSecretStore(context.Context, *sandboxv1.DeleteSecretStoreRequest) (*emptypb.Empty, error) {
	return nil, notServedMethod("DeleteSecretStore")
}
