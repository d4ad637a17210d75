package cwsandbox

import (
	"context"
	"errors"
	"strings"
	"time"
)

// publicCalls are the calls of the public API, with what can be said to each of them. sb is a running sandbox.
var publicCalls = []struct {
	name string
	make func(ctx context.Context, c *Client, sb *Sandbox) error
}{
	{"create", createWith(
		WithImage("i"), WithCommand("c", "a"), WithDir("/d"), WithEnv("A", "b"), WithFile("/f", []byte("x")),
		WithDisplayName("n"), WithAnnotation("k", "v"), WithTags("t"), WithMaxLifetime(time.Minute),
	)},
	{"resources", createWith(WithResources(Resources{
		Requests: ResourceList{CPU: "1", Memory: "1Gi"}, Limits: ResourceList{CPU: "2", Memory: "2Gi"}, GPU: &GPU{Count: 1, Type: "H100"},
	}))},
	{"memory of GPUs", createWith(WithResources(Resources{GPU: &GPU{Count: 1, MemoryGB: 80}}))},
	{"runners", createWith(WithRunners("r"))},
	{"placement", createWith(WithPlacement(PlacementServerless))},
	{"containers", createWith(WithContainers(
		Container{
			Name: "a", Image: "i", Command: []string{"c", "a"}, Env: map[string]string{"A": "b"}, Dir: "/d", Primary: true,
			Resources: Resources{Requests: ResourceList{CPU: "1"}}, Files: []File{{Path: "/f", Data: []byte("x")}},
			Secrets:      []Secret{{Store: "s", Name: "n", Field: "f", Env: "E"}},
			StartupProbe: Probe{Command: []string{"true"}, InitialDelay: time.Second, Period: time.Second, Timeout: time.Second, Failures: 1},
			SecurityContext: SecurityContext{
				RunAsUser: new(1), RunAsGroup: new(1), Privileged: new(true), AllowPrivilegeEscalation: new(true),
				ReadOnlyRootFilesystem: new(true), CapabilitiesAdd: []string{"NET_ADMIN"}, CapabilitiesDrop: []string{"ALL"},
				SeccompProfile: SeccompRuntimeDefault,
			},
			PullCredentials: PullCredentials{Registry: "r", Store: "s", Name: "n", Field: "f"},
		},
		Container{Name: "b", Image: "i", Resources: Resources{Requests: ResourceList{CPU: "1"}}},
	))},
	{"nodes and object storage", createWith(WithRuntimeClass("r"), WithInstanceType("t"),
		WithObjectStorage(ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageRead, Prefix: "p/"}))},
	{"object storage for writing", createWith(WithObjectStorage(ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageReadWrite}))},
	{"closed network", createWith(WithNetwork(Network{DenyEgress: new(true), DenyIngress: new(true), DNS: DNSEgressDeny}))},
	{"network", createWith(WithNetwork(Network{
		DNS: DNSEgressAllow,
		Egress: []EgressRule{
			{Host: "pypi.org"}, {CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}, {Tenant: TenantSameUser}, {Tenant: TenantSameOrg},
			{Tenant: TenantSandboxNetwork}, {PodLabels: map[string]string{"a": "b"}, NamespaceLabels: map[string]string{"a": "b"}},
			{Any: true, Ports: []PortRange{{Port: 1, End: 2, Protocol: ProtocolUDP}}},
		},
		Ingress: []IngressRule{
			{CIDR: "10.0.0.0/8"}, {Tenant: TenantSameOrg}, {Any: true, Ports: []PortRange{{Port: 1}}},
		},
	}))},
	{"template", createWith(WithTemplate("t"), WithDisplayName("n"))},
	{"overrides of a template", createWith(
		WithTemplate("t"), WithTags("t"), WithMaxLifetime(time.Minute), WithAnnotation("k", "v"), WithRunners("r"), WithRuntimeClass("r"),
		WithInstanceType("t"), WithObjectStorage(ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageRead}),
		WithNetwork(Network{DenyEgress: new(true)}), WithImage("i"), WithCommand("c", "a"), WithEnv("A", "b"), WithDir("/d"),
		WithFile("/f", []byte("x")), WithResources(Resources{Requests: ResourceList{CPU: "1"}}), WithSecrets(Secret{Store: "s", Name: "n"}),
		WithPullCredentials(PullCredentials{Registry: "r", Store: "s", Name: "n"}), WithStartupProbe(Probe{Command: []string{"true"}}),
		WithSecurityContext(SecurityContext{RunAsUser: new(1)}),
	)},
	{"containers over a template", createWith(WithTemplate("t"), WithContainers(
		Container{Name: "a", Image: "i", Primary: true, Resources: Resources{Requests: ResourceList{CPU: "1"}}},
		Container{Name: "b", Image: "i", Resources: Resources{Requests: ResourceList{CPU: "1"}}},
	))},
	{"compose", createWith(
		WithCompose(Compose{
			Contents: []byte("services: {}"), Primary: "p", Images: map[string]string{"p": "i"},
			Resources: Resources{Requests: ResourceList{CPU: "1"}},
		}),
		WithRunners("r"), WithMaxLifetime(time.Minute), WithTags("t"), WithAnnotation("k", "v"), WithDisplayName("n"),
		WithNetwork(Network{DenyEgress: new(true)}), WithObjectStorage(ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageRead}),
	)},
	{"services over a template", createWith(WithTemplate("t"), WithServices(Service{Port: 1}))},
	{"services", createWith(WithServices(
		Service{Port: 1, Name: "n", Protocol: ProtocolTCP, Visibility: VisibilityPublic, Endpoint: Endpoint{EndpointHTTPS, EndpointAuthOpen, time.Minute}},
		Service{Port: 2, Visibility: VisibilityPublic, Endpoint: HTTPSEndpoint(EndpointAuthShareToken)},
		Service{Port: 3, Visibility: VisibilityPublic, Endpoint: TLSPassthroughEndpoint()},
		Service{Port: 4, Protocol: ProtocolUDP, Visibility: VisibilityPrivate},
		Service{Port: 5, Protocol: ProtocolSCTP, Visibility: VisibilityCustom},
	))},
	{"template", createWith(
		WithTemplate("t-1"), WithImage("i"), WithCommand("c", "a"), WithDir("/d"), WithEnv("A", "b"), WithFile("/f", []byte("x")),
		WithResources(Resources{Requests: ResourceList{CPU: "1"}}), WithSecrets(Secret{Store: "s", Name: "n", Env: "E"}),
		WithPullCredentials(PullCredentials{Registry: "r.example", Store: "s", Name: "n"}), WithStartupProbe(Probe{Command: []string{"c"}}),
		WithSecurityContext(SecurityContext{CapabilitiesDrop: []string{"ALL"}}), WithDisplayName("n"), WithAnnotation("k", "v"),
		WithTags("t"), WithMaxLifetime(time.Minute), WithRunners("r"), WithNetwork(Network{}), WithRuntimeClass("r"), WithInstanceType("t"),
		WithScratch("/data", "1Gi"),
		WithObjectStorage(ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageRead}),
	)},
	{"several containers over a template", createWith(WithTemplate("t-1"), WithContainers(Container{Image: "i", Primary: true}))},
	{"Compose", createWith(
		WithCompose(Compose{
			Contents: []byte("services: {}"), Primary: "p", Images: map[string]string{"p": "i"},
			Resources: Resources{Limits: ResourceList{CPU: "1"}},
		}),
		WithDisplayName("n"), WithAnnotation("k", "v"), WithTags("t"), WithMaxLifetime(time.Minute), WithRunners("r"),
		WithNetwork(Network{}), WithObjectStorage(ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageRead}),
	)},

	{"volumes", createWith(WithContainers(Container{Image: "i", Mounts: []VolumeMount{{Volume: "fast", Path: "/fast"}}}), WithVolumes(
		Volume{Name: "work", Path: "/data", SubPath: "a", ReadOnly: true, Size: "1Gi", Medium: MediumDisk, SnapshotID: "s"},
		Volume{Name: "fast", Size: "1Gi", Medium: MediumMemory},
		Volume{Name: "data", VolumeID: "vol"},
	))},
	{"snapshots", func(ctx context.Context, c *Client, sb *Sandbox) error {
		_, err := sb.Snapshot(ctx, WithSnapshotVolume("v"), WithSnapshotWait(false))
		return errors.Join(err, second(Collect(c.Snapshots(ctx, WithSourceSandbox("sb-1"), WithPageSize(1)))), second(c.Snapshot(ctx, "s")),
			c.DeleteSnapshot(ctx, "s", MissingOK()))
	}},

	{"attach", func(ctx context.Context, c *Client, sb *Sandbox) error { return second(c.Attach(ctx, sb.ID())) }},
	{"list", func(ctx context.Context, c *Client, _ *Sandbox) error {
		for s := StateUnspecified; s <= StatePreparing; s++ {
			err := second(Collect(c.List(ctx, WithTags("t"), WithState(s), WithTerminated(), WithRunners("r"), WithVolumeIDs("v"), WithPageSize(1))))
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"delete", func(ctx context.Context, c *Client, _ *Sandbox) error {
		return c.Delete(ctx, "sb-gone", MissingOK(), WithGrace(time.Second))
	}},
	{"stop", func(ctx context.Context, c *Client, _ *Sandbox) error {
		sb, err := c.Run(ctx)
		if err != nil {
			return err
		}
		return second(sb.Stop(WithStopSnapshot("v")).WaitContext(ctx))
	}},
	{"purge", func(ctx context.Context, c *Client, _ *Sandbox) error {
		_, err := c.Purge(ctx, WithTags("t"))
		return errors.Join(err, second(c.PurgeAll(ctx)), second(c.PurgeCount(ctx)))
	}},
	{"direct connections", func(ctx context.Context, c *Client, _ *Sandbox) error {
		sb, err := c.Run(ctx, WithDataPlane(DataPlaneDirect))
		if err != nil {
			return err
		}
		for _, try := range []error{
			second(sb.Exec(ctx, []string{"true"})), second(sb.ReadFile(ctx, "/f")), sb.WriteFile(ctx, "/f", nil),
			second(Collect(sb.Logs(ctx))), second(sb.Shell(ctx, nil)),
		} {
			if try == nil {
				return errors.New("there are no direct connections here")
			}
		}
		return nil
	}},

	{"exec", func(ctx context.Context, _ *Client, sb *Sandbox) error {
		return second(sb.Exec(ctx, []string{"true"}, WithEnv("A", "b"), WithContainer("main"), WithStdin(strings.NewReader("x"))))
	}},
	{"shell", func(ctx context.Context, _ *Client, sb *Sandbox) error {
		term, err := sb.Shell(ctx, nil, WithSize(80, 24))
		if err != nil {
			return err
		}
		return errors.Join(term.Resize(ctx, 100, 30), term.CloseWrite(), second(term.Wait()))
	}},
	{"logs", func(ctx context.Context, _ *Client, sb *Sandbox) error {
		return second(Collect(sb.Logs(ctx, WithTail(1), WithSince(time.Unix(1, 0)), WithTimestamps(), WithContainer("main"))))
	}},
	{"following logs", func(ctx context.Context, _ *Client, sb *Sandbox) error {
		_, err := Collect(sb.Logs(ctx, WithFollow(), WithCursor(LogCursor{Session: "s", Offset: 1}), WithoutResume()))
		return err
	}},
	{"files", func(ctx context.Context, _ *Client, sb *Sandbox) error {
		_, err := sb.ReadFile(ctx, "/f", WithContainer("main"))
		return errors.Join(err, sb.WriteFile(ctx, "/f", []byte("x"), WithContainer("main")))
	}},

	{"registered volumes", func(ctx context.Context, c *Client, _ *Sandbox) error {
		_, err := c.CreateVolume(ctx, RegisteredVolumeSpec{
			Claim: VolumeClaim{RunnerID: "r", Namespace: "n", Name: "c", SubPath: "s"}, ReadOnly: true, Description: "d",
		})
		return errors.Join(err,
			second(c.RegisteredVolume(ctx, "v")),
			second(Collect(c.RegisteredVolumes(ctx, WithRunners("r"), WithVolumeStates(
				VolumeStateValidating, VolumeStateReady, VolumeStateError, VolumeStateDeleting)))),
			second(c.UpdateVolume(ctx, "v", "d")),
			second(c.ValidateVolume(ctx, "v")),
			second(c.WaitVolume(ctx, "v")),
			c.DeleteVolume(ctx, "v", MissingOK(), WithForce()),
		)
	}},

	{"runners and what they have", func(ctx context.Context, c *Client, _ *Sandbox) error {
		_, err := c.Runner(ctx, "r", "o")
		for v := VisibilityPublic; v <= VisibilityCustom; v++ {
			err = errors.Join(err, second(Collect(c.Runners(ctx, WithRunnerGroup("g"), WithGPUType("t"), WithArchitecture("a"),
				WithServiceVisibility(v), WithHealthyOnly()))))
		}
		return errors.Join(err, second(Collect(c.Runners(ctx, WithFreeResources()))))
	}},

	{"templates", func(ctx context.Context, c *Client, _ *Sandbox) error {
		_, err := c.CreateTemplate(ctx, "n", WithImage("i"), WithAttachments(map[string]any{"a": "b"}))
		return errors.Join(err,
			second(c.Template(ctx, "t", WithDeleted())),
			second(Collect(c.Templates(ctx, WithDeleted()))),
			second(c.ReplaceTemplate(ctx, "t", "n", WithImage("i"))),
			second(c.UpdateTemplate(ctx, "t", WithImage("i"))),
			c.DeleteTemplate(ctx, "t"),
		)
	}},
	{"secret stores", func(ctx context.Context, c *Client, _ *Sandbox) error {
		store := SecretStore{Name: "store", Provider: SecretStoreWandB, WandB: &WandBStore{APIURL: "https://u", Team: "t"}}
		return errors.Join(
			second(c.CreateSecretStore(ctx, store)),
			second(c.SecretStore(ctx, "store")),
			second(Collect(c.SecretStores(ctx))),
			second(c.UpdateSecretStore(ctx, store, "wandb")),
			c.DeleteSecretStore(ctx, "store", MissingOK()),
		)
	}},
	{"identity federation", func(ctx context.Context, c *Client, _ *Sandbox) error {
		all := IdentityFederation{ID: "i", Enabled: true, AllowedBuckets: []string{"b"}, MaxPermission: ObjectStorageRead}
		return errors.Join(
			second(c.IdentityFederation(ctx)),
			second(c.UpdateIdentityFederation(ctx, all, "enabled")),
			c.DeleteIdentityFederation(ctx, MissingOK()),
		)
	}},
	{"snapshot bucket", func(ctx context.Context, c *Client, _ *Sandbox) error {
		return errors.Join(
			second(c.SnapshotBucket(ctx)),
			second(c.UpdateSnapshotBucket(ctx, SnapshotBucket{Name: "b", Region: "r"}, "bucket_name")),
		)
	}},
	{"build storage", func(ctx context.Context, c *Client, _ *Sandbox) error {
		_, err := c.BuildStorage(ctx)
		for _, mode := range []BuildStorageMode{BuildStorageManaged, BuildStorageOwn} {
			err = errors.Join(err, second(c.UpdateBuildStorage(ctx, BuildStorage{
				Enabled: true, Mode: mode, Bucket: "b", Location: "l", RegistryNamespace: "n", BillingReference: "r", ETag: "e",
			}, "enabled")))
		}
		return err
	}},
}

func createWith(opts ...Option) func(context.Context, *Client, *Sandbox) error {
	return func(ctx context.Context, c *Client, _ *Sandbox) error { return second(c.Run(ctx, opts...)) }
}

const (
	setByService = "the service sets it"
	unary        = "commands run on streams, which cannot be cut at a size and end when they are cancelled"
	direct       = "TestDirectCoverage"
	noNetworks   = "the service refuses it"
	noBuilds     = "the service builds nothing: every service of a document needs an image"
	wholePages   = "these lists are short: the service chooses the size of a page"
)

// deliberately says why the public API does not send something. What is only reached through it counts as said.
var deliberately = map[string]string{
	"SandboxService.Exec":          unary,
	"SANDBOX_DATA_PERMISSION_EXEC": unary,

	"SandboxDataPlaneService.Exec":       unary,
	"SandboxDataPlaneService.StreamExec": direct,
	"SandboxDataPlaneService.StreamLogs": direct,
	"SandboxDataPlaneService.ReadFile":   direct,
	"SandboxDataPlaneService.WriteFile":  direct,

	"PurgeSandboxesRequest.request_id": "the service refuses it; to purge again does no harm",

	"Container.resources":                      "resource_requirements say the same, and more",
	"PartialContainer.resources":               "resource_requirements say the same, and more",
	"SandboxSpec.network_ids":                  noNetworks,
	"PartialSandboxSpec.network_ids":           noNetworks,
	"CreateSandboxFromFileRequest.network_ids": noNetworks,

	"CreateSandboxFromFileRequest.build_contexts":        noBuilds,
	"CreateSandboxFromFileRequest.build_context_objects": noBuilds,
	"CreateSandboxFromFileRequest.builder_sizes":         noBuilds,

	"EgressRule.https_hostname_except": "it is for policies: the service refuses it on a sandbox",

	"ListVolumesRequest.page_size": wholePages,

	"Sandbox.sandbox_id":               setByService,
	"Sandbox.status":                   setByService,
	"Sandbox.endpoint_share_token":     setByService,
	"Sandbox.source_template_id":       setByService,
	"Sandbox.source_template_revision": setByService,

	"Volume.status": setByService,

	"SandboxTemplate.sandbox_template_id": setByService,
	"SandboxTemplate.revision":            setByService,
	"SandboxTemplate.create_time":         setByService,
	"SandboxTemplate.update_time":         setByService,
	"SandboxTemplate.delete_time":         setByService,
	"SandboxTemplate.deleted":             setByService,
	"SandboxTemplate.create_user_id":      setByService,
	"SandboxTemplate.requires_cks":        setByService,

	"ObjectStorageWifConfig.create_time":                   setByService,
	"ObjectStorageWifConfig.update_time":                   setByService,
	"FileSystemSnapshotBucketConfig.mode":                  setByService,
	"FileSystemSnapshotBucketConfig.effective_bucket_name": setByService,
	"SecretStore.create_time":                              setByService,
	"SecretStore.update_time":                              setByService,
	"BuildStorageConfig.revision":                          setByService,
	"BuildStorageConfig.effective_bucket_name":             setByService,

	"Volume.volume_id": setByService,

	"ListSandboxTemplatesRequest.page_size": "the service chooses the size of a page",
	"ListSecretStoresRequest.page_size":     "the service chooses the size of a page",
}
