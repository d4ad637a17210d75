package localserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/compose"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	maxComposeBytes = 256 << 10
	maxBuildBytes   = 32 << 20
)

// CreateSandboxFromFile accepts a sandbox of several containers that a Compose document describes. Nothing is built.
func (s *sandboxService) CreateSandboxFromFile(ctx context.Context, req *sandboxv1.CreateSandboxFromFileRequest) (*sandboxv1.Sandbox, error) {
	sb, err := s.create(ctx, "CreateSandboxFromFile", req, func(who identity) (*plan, error) {
		if err := checkDocument(req); err != nil {
			return nil, err
		}
		spec, err := s.translate(req)
		if err != nil {
			return nil, err
		}
		p, err := s.plan(&sandboxv1.Sandbox{Spec: spec, DisplayName: req.GetDisplayName()}, who)
		if err != nil {
			return nil, err
		}
		p.fromFile = true
		for _, c := range spec.GetContainers() {
			p.hosts = append(p.hosts, c.GetName())
		}
		return p, nil
	})
	return sb, moveFields(err, "")
}

// checkDocument checks what is said beside the document.
func checkDocument(req *sandboxv1.CreateSandboxFromFileRequest) error {
	var c checker
	switch req.GetType() {
	case sandboxv1.SandboxFileType_SANDBOX_FILE_TYPE_COMPOSE:
	case sandboxv1.SandboxFileType_SANDBOX_FILE_TYPE_UNSPECIFIED:
		return bad("type", "must be set")
	default:
		return notServed("type")
	}
	size := len(req.GetContents())
	c.require(size > 0 && size <= maxComposeBytes, "contents", "must have 1 to %d bytes, has %d", maxComposeBytes, size)
	c.require(req.GetPrimaryService() != "", "primary_service", "must not be empty")
	for _, service := range slices.Sorted(maps.Keys(req.GetImageOverrides())) {
		c.require(strings.TrimSpace(service) != "" && strings.TrimSpace(req.GetImageOverrides()[service]) != "", "image_overrides",
			"must hold names of services and of images")
	}
	d := req.GetDefaultResources()
	c.require(d.GetRequests().GetGpu() == nil && d.GetLimits().GetGpu() == nil, "default_resources.requests.gpu", "must not be set")
	built := 0
	for _, tarball := range req.GetBuildContexts() {
		built += len(tarball)
	}
	c.require(built <= maxBuildBytes, "build_contexts", "must have at most %d bytes in all, have %d", maxBuildBytes, built)
	c.refuseSet(len(req.GetBuildContexts()) > 0, "build_contexts")
	c.refuseSet(len(req.GetBuildContextObjects()) > 0, "build_context_objects")
	c.refuseSet(len(req.GetBuilderSizes()) > 0, "builder_sizes")
	return c.err()
}

// translate makes the spec that the document and what is said beside it come to.
func (s *Server) translate(req *sandboxv1.CreateSandboxFromFileRequest) (*sandboxv1.SandboxSpec, error) {
	spec := new(sandboxv1.SandboxSpec)
	if s.opt.TranslateFile != nil {
		translated, err := s.opt.TranslateFile(req.GetContents())
		if err != nil {
			return nil, bad("contents", "%v", err)
		}
		proto.Merge(spec, translated) // a copy, because it is completed below
	} else {
		containers, err := compose.Translate(compose.Input{
			Contents: req.GetContents(),
			Primary:  req.GetPrimaryService(),
			Images:   req.GetImageOverrides(),
			Defaults: req.GetDefaultResources(),
		})
		if err != nil {
			return nil, badDocument(err)
		}
		spec.Containers = containers
	}
	spec.Mode = req.GetMode()
	spec.MaxLifetimeSeconds = req.GetMaxLifetimeSeconds()
	spec.Tags = req.GetTags()
	spec.Network = req.GetNetwork()
	spec.NetworkIds = req.GetNetworkIds()
	spec.ObjectStorageAccess = req.GetObjectStorageAccess()
	spec.Annotations = req.GetAnnotations()
	spec.RunnerIds = req.GetRunnerIds()
	return spec, nil
}

// badDocument is the answer to a document that cannot be translated.
func badDocument(err error) error {
	var unknown *compose.UnknownServiceError
	var document *compose.Error
	switch {
	case errors.As(err, &unknown):
		return bad(unknown.Field, "there is no service %q in the document", unknown.Service)
	case !errors.As(err, &document):
		return bad("contents", "%v", err)
	}
	var list []violation
	for _, fault := range document.Faults {
		list = append(list, violation{"contents", fault})
	}
	if !document.Unserved {
		return badFields(list)
	}
	return refusal{
		code:       codes.Unimplemented,
		reason:     reasonNotImplemented,
		text:       fmt.Sprintf("not implemented by this server: contents: %v", err),
		violations: list,
	}.err()
}
