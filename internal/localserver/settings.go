package localserver

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The buckets of an organization that has none of its own.
const (
	managedSnapshotBucket = "local-managed-bucket"
	managedBuildBucket    = "local-build-bucket"
)

// What callers set.
var (
	federationFields   = []string{"wif_config_id", "enabled", "allowed_buckets", "max_permission"}
	bucketFields       = []string{"bucket_name", "region"}
	buildStorageFields = []string{"enabled", "mode", "bucket_name", "location", "registry_namespace", "billing_reference"}
)

// settingsService keeps what an organization has set up. That writes need the admin action was seen to before.
type settingsService struct {
	sandboxv1.UnsafeSettingsServiceServer
	*Server
}

// organizationSettings is what an organization has set up. Messages are replaced and never changed, so that answers may
// share them; nil ones were never set.
type organizationSettings struct {
	federation     *sandboxv1.ObjectStorageWifConfig
	snapshotBucket *sandboxv1.FileSystemSnapshotBucketConfig
	buildStorage   *sandboxv1.BuildStorageConfig
}

// settingsOf returns the settings of an organization. The store's mutex is held.
func (s *Server) settingsOf(organization string) *organizationSettings {
	o := s.organizations[organization]
	if o == nil {
		o = &organizationSettings{
			snapshotBucket: snapshotBucketOf(&sandboxv1.FileSystemSnapshotBucketConfig{}),
			buildStorage:   buildStorageOf(&sandboxv1.BuildStorageConfig{}),
		}
		if s.organizations == nil {
			s.organizations = make(map[string]*organizationSettings)
		}
		s.organizations[organization] = o
	}
	return o
}

// snapshotBucket is the name of the bucket that an organization's snapshots go to now. The store's mutex is held.
func (s *Server) snapshotBucket(organization string) string {
	return s.settingsOf(organization).snapshotBucket.GetEffectiveBucketName()
}

// federation is how an organization's sandboxes get at object storage, or nil. The message must not be changed. The
// store's mutex must not be held.
func (s *Server) federation(organization string) *sandboxv1.ObjectStorageWifConfig {
	s.store.Lock()
	defer s.store.Unlock()
	return s.settingsOf(organization).federation
}

// GetObjectStorageWifConfig returns how sandboxes get at object storage, once that was set up.
func (s *settingsService) GetObjectStorageWifConfig(ctx context.Context, _ *sandboxv1.GetObjectStorageWifConfigRequest) (*sandboxv1.ObjectStorageWifConfig, error) {
	config := s.federation(callerOf(ctx).organization)
	if config == nil {
		return nil, noFederation()
	}
	return config, nil
}

// noFederation is bare: the service is known to have no reason for it.
func noFederation() error {
	return status.Error(codes.NotFound, "object storage is not set up for the organization")
}

// UpdateObjectStorageWifConfig changes how sandboxes get at object storage, or sets it up.
func (s *settingsService) UpdateObjectStorageWifConfig(ctx context.Context, req *sandboxv1.UpdateObjectStorageWifConfigRequest) (*sandboxv1.ObjectStorageWifConfig, error) {
	if req.GetObjectStorageWifConfig() == nil {
		return nil, bad("object_storage_wif_config", "must be set")
	}
	s.store.Lock()
	defer s.store.Unlock()
	o, now := s.settingsOf(callerOf(ctx).organization), timestamppb.New(s.now())
	base := o.federation
	if base == nil {
		base = &sandboxv1.ObjectStorageWifConfig{CreateTime: now}
	}
	config, err := masked(base, req.GetObjectStorageWifConfig(), req.GetUpdateMask(), federationFields...)
	if err == nil {
		err = checkFederation(config)
	}
	if err != nil {
		return nil, err
	}
	config.UpdateTime = now
	o.federation = config
	return config, nil
}

func checkFederation(config *sandboxv1.ObjectStorageWifConfig) error {
	var c checker
	for i, bucket := range config.GetAllowedBuckets() {
		field := fmt.Sprintf("allowed_buckets[%d]", i)
		c.require(bucket != "", field, "must not be empty")
		c.require(!slices.Contains(config.GetAllowedBuckets()[:i], bucket), field, "must not be listed twice")
	}
	_, known := sandboxv1.ObjectStoragePermission_name[int32(config.GetMaxPermission())]
	c.require(known, "max_permission", "must be a permission")
	return c.err()
}

// DeleteObjectStorageWifConfig takes object storage away from specs.
func (s *settingsService) DeleteObjectStorageWifConfig(ctx context.Context, req *sandboxv1.DeleteObjectStorageWifConfigRequest) (*emptypb.Empty, error) {
	s.store.Lock()
	defer s.store.Unlock()
	o := s.settingsOf(callerOf(ctx).organization)
	if o.federation == nil && !req.GetAllowMissing() {
		return nil, noFederation()
	}
	o.federation = nil
	return &emptypb.Empty{}, nil
}

// GetFileSystemSnapshotBucketConfig tells which bucket holds snapshots.
func (s *settingsService) GetFileSystemSnapshotBucketConfig(ctx context.Context, _ *sandboxv1.GetFileSystemSnapshotBucketConfigRequest) (*sandboxv1.FileSystemSnapshotBucketConfig, error) {
	s.store.Lock()
	defer s.store.Unlock()
	return s.settingsOf(callerOf(ctx).organization).snapshotBucket, nil
}

// UpdateFileSystemSnapshotBucketConfig changes which bucket holds the snapshots that are taken from now on.
func (s *settingsService) UpdateFileSystemSnapshotBucketConfig(ctx context.Context, req *sandboxv1.UpdateFileSystemSnapshotBucketConfigRequest) (*sandboxv1.FileSystemSnapshotBucketConfig, error) {
	if req.GetFileSystemSnapshotBucketConfig() == nil {
		return nil, bad("file_system_snapshot_bucket_config", "must be set")
	}
	s.store.Lock()
	defer s.store.Unlock()
	o := s.settingsOf(callerOf(ctx).organization)
	config, err := masked(o.snapshotBucket, req.GetFileSystemSnapshotBucketConfig(), req.GetUpdateMask(), bucketFields...)
	if err != nil {
		return nil, err
	}
	o.snapshotBucket = snapshotBucketOf(config)
	return o.snapshotBucket, nil
}

// snapshotBucketOf sets what follows from a bucket, or from none.
func snapshotBucketOf(config *sandboxv1.FileSystemSnapshotBucketConfig) *sandboxv1.FileSystemSnapshotBucketConfig {
	config.Mode = sandboxv1.FileSystemSnapshotBucketMode_FILE_SYSTEM_SNAPSHOT_BUCKET_MODE_BRING_YOUR_OWN
	config.EffectiveBucketName = config.GetBucketName()
	if config.GetBucketName() == "" {
		config.Mode = sandboxv1.FileSystemSnapshotBucketMode_FILE_SYSTEM_SNAPSHOT_BUCKET_MODE_CW_MANAGED
		config.EffectiveBucketName = managedSnapshotBucket
	}
	return config
}

// GetBuildStorageConfig tells where build contexts lie.
func (s *settingsService) GetBuildStorageConfig(ctx context.Context, _ *sandboxv1.GetBuildStorageConfigRequest) (*sandboxv1.BuildStorageConfig, error) {
	s.store.Lock()
	defer s.store.Unlock()
	return s.settingsOf(callerOf(ctx).organization).buildStorage, nil
}

// UpdateBuildStorageConfig changes where build contexts lie, unless it names a version that is no longer the last one.
func (s *settingsService) UpdateBuildStorageConfig(ctx context.Context, req *sandboxv1.UpdateBuildStorageConfigRequest) (*sandboxv1.BuildStorageConfig, error) {
	update := req.GetBuildStorageConfig()
	if update == nil {
		return nil, bad("build_storage_config", "must be set")
	}
	s.store.Lock()
	defer s.store.Unlock()
	o := s.settingsOf(callerOf(ctx).organization)
	config, err := masked(o.buildStorage, update, req.GetUpdateMask(), buildStorageFields...)
	if err == nil {
		err = checkBuildStorage(config)
	}
	if err != nil {
		return nil, err
	}
	if etag := update.GetEtag(); etag != "" && etag != o.buildStorage.GetEtag() {
		return nil, refusal{
			code:   codes.Aborted,
			reason: reasonETagMismatch,
			text:   "the build storage was changed meanwhile: read it again",
		}.err()
	}
	config.Revision++
	o.buildStorage = buildStorageOf(config)
	return o.buildStorage, nil
}

func checkBuildStorage(config *sandboxv1.BuildStorageConfig) error {
	var c checker
	_, known := sandboxv1.BuildStorageMode_name[int32(config.GetMode())]
	c.require(known, "mode", "must be MANAGED or CUSTOMER_OWNED")
	owned := config.GetMode() == sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_CUSTOMER_OWNED
	c.require(!owned || config.GetBucketName() != "", "bucket_name", "must be set for the organization's own storage")
	return c.err()
}

// buildStorageOf sets what follows from what was set. The etag is one of this revision only.
func buildStorageOf(config *sandboxv1.BuildStorageConfig) *sandboxv1.BuildStorageConfig {
	config.EffectiveBucketName = managedBuildBucket
	switch config.GetMode() {
	case sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_UNSPECIFIED:
		config.Mode = sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_MANAGED
	case sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_CUSTOMER_OWNED:
		config.EffectiveBucketName = config.GetBucketName()
	}
	config.Etag = fmt.Sprintf(`"%d"`, config.GetRevision())
	return config
}
