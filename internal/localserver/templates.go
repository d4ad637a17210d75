package localserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	maxTemplateName = 128 // characters
	maxTemplateSpec = 1 << 20
)

// templateFields are what callers set.
var templateFields = []string{"display_name", "spec", "attachments"}

// templateService keeps templates. That writes need the admin action was seen to before.
type templateService struct {
	sandboxv1.UnsafeSandboxTemplateServiceServer
	*Server
}

// template finds a template of the caller's organization by its UUID, or returns nil. Deleted ones are found, too. The
// message must not be changed. The store's mutex must not be held.
func (s *Server) template(who identity, id string) *sandboxv1.SandboxTemplate {
	s.store.Lock()
	defer s.store.Unlock()
	if e := s.templateEntry(who, id); e != nil {
		return e.now
	}
	return nil
}

// templateEntry is template with the store's mutex held.
func (s *Server) templateEntry(who identity, id string) *entry[*sandboxv1.SandboxTemplate] {
	id = strings.ToLower(id)
	return s.templates.find(who.organization, func(t *sandboxv1.SandboxTemplate) bool { return t.GetSandboxTemplateId() == id })
}

// namedTemplate finds a template that is not deleted by its name. The store's mutex is held.
func (s *Server) namedTemplate(who identity, name string) *entry[*sandboxv1.SandboxTemplate] {
	return s.templates.find(who.organization, func(t *sandboxv1.SandboxTemplate) bool {
		return !t.GetDeleted() && t.GetDisplayName() == name
	})
}

// CreateSandboxTemplate stores a template. What a spec asks for is looked at when a sandbox is made of it.
func (s *templateService) CreateSandboxTemplate(ctx context.Context, req *sandboxv1.CreateSandboxTemplateRequest) (*sandboxv1.SandboxTemplate, error) {
	if req.GetSandboxTemplate() == nil {
		return nil, bad("sandbox_template", "must be set")
	}
	who := callerOf(ctx)
	made, err := newCreation(who, "CreateSandboxTemplate", req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	t, err := masked(new(sandboxv1.SandboxTemplate), req.GetSandboxTemplate(), nil, templateFields...)
	if err == nil {
		err = checkTemplate(t)
	}
	if err != nil {
		return nil, err
	}

	s.store.Lock()
	defer s.store.Unlock()
	if first, ok, err := s.templates.repeated(made); ok || err != nil {
		return first, err
	}
	if s.namedTemplate(who, t.DisplayName) != nil {
		return nil, status.Errorf(codes.AlreadyExists, "there is a template %q", t.DisplayName)
	}
	now := timestamppb.New(s.now())
	t.SandboxTemplateId, t.Revision, t.CreateTime, t.UpdateTime, t.CreateUserId = newUUID(), 1, now, now, who.user
	s.templates.add(who.organization, made, t, t)
	return t, nil
}

// checkTemplate checks what a caller has set, cleans up the name, and sets what follows.
func checkTemplate(t *sandboxv1.SandboxTemplate) error {
	var c checker
	t.DisplayName = strings.TrimSpace(t.GetDisplayName())
	n := utf8.RuneCountInString(t.DisplayName)
	c.require(n >= 1 && n <= maxTemplateName, "display_name", "must have 1 to %d characters, has %d", maxTemplateName, n)
	size := proto.Size(t.GetSpec())
	c.require(size <= maxTemplateSpec, "spec", "must have at most %d bytes, has %d", maxTemplateSpec, size)
	for i, ct := range t.GetSpec().GetContainers() {
		if pull := ct.GetImagePullCredentials(); pull != nil {
			field := fmt.Sprintf("spec.containers[%d].image_pull_credentials", i)
			c.require(pull.GetRegistry() != "", field+".registry", "must not be empty")
			c.require(pull.GetCredentials().GetStoreName() != "", field+".credentials.store_name", "must not be empty")
			c.require(pull.GetCredentials().GetPath() != "", field+".credentials.path", "must not be empty")
		}
	}
	t.RequiresCks = t.GetAttachments() != nil
	return c.err()
}

// GetSandboxTemplate finds a template by its UUID or its name. A text that reads as a UUID is only that.
func (s *templateService) GetSandboxTemplate(ctx context.Context, req *sandboxv1.GetSandboxTemplateRequest) (*sandboxv1.SandboxTemplate, error) {
	id, who := req.GetSandboxTemplateId(), callerOf(ctx)
	if id == "" {
		return nil, bad("sandbox_template_id", "must not be empty")
	}
	if err := mayShowDeleted(who, req.GetShowDeleted()); err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	var e *entry[*sandboxv1.SandboxTemplate]
	if validUUID(id) {
		e = s.templateEntry(who, id)
	} else if e = s.namedTemplate(who, id); e == nil {
		e = s.templates.find(who.organization, func(t *sandboxv1.SandboxTemplate) bool { return t.GetDisplayName() == id })
	}
	if e == nil || e.now.GetDeleted() && !req.GetShowDeleted() {
		return nil, noTemplate(id)
	}
	return e.now, nil
}

func mayShowDeleted(who identity, wanted bool) error {
	if wanted && !who.admin {
		return status.Error(codes.PermissionDenied, "deleted templates are shown with the admin action only")
	}
	return nil
}

// noTemplate is bare: the service is known to have no reason for it.
func noTemplate(id string) error {
	return status.Error(codes.NotFound, cut("template "+id+" was not found"))
}

// ListSandboxTemplates returns a page of the organization's templates, newest first.
func (s *templateService) ListSandboxTemplates(ctx context.Context, req *sandboxv1.ListSandboxTemplatesRequest) (*sandboxv1.ListSandboxTemplatesResponse, error) {
	who := callerOf(ctx)
	if err := mayShowDeleted(who, req.GetShowDeleted()); err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	page, next, err := s.templates.page(s.tokens, who, req, func(t *sandboxv1.SandboxTemplate) bool {
		return !t.GetDeleted() || req.GetShowDeleted()
	})
	if err != nil {
		return nil, err
	}
	return &sandboxv1.ListSandboxTemplatesResponse{SandboxTemplates: page, NextPageToken: next}, nil
}

// UpdateSandboxTemplate changes a template and raises its revision, whether or not anything is different afterwards.
func (s *templateService) UpdateSandboxTemplate(ctx context.Context, req *sandboxv1.UpdateSandboxTemplateRequest) (*sandboxv1.SandboxTemplate, error) {
	id, who := req.GetSandboxTemplateId(), callerOf(ctx)
	var c checker
	c.require(id != "", "sandbox_template_id", "must not be empty")
	c.require(req.GetSandboxTemplate() != nil, "sandbox_template", "must be set")
	if err := c.err(); err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	e := s.templateEntry(who, id)
	if e == nil || e.now.GetDeleted() {
		return nil, noTemplate(id)
	}
	t, err := masked(e.now, req.GetSandboxTemplate(), req.GetUpdateMask(), templateFields...)
	if err == nil {
		err = checkTemplate(t)
	}
	if err != nil {
		return nil, err
	}
	if named := s.namedTemplate(who, t.DisplayName); named != nil && named != e {
		return nil, status.Errorf(codes.AlreadyExists, "there is a template %q", t.DisplayName)
	}
	t.Revision++
	t.UpdateTime = timestamppb.New(s.now())
	e.now = t
	return t, nil
}

// DeleteSandboxTemplate hides a template and sets its name free.
func (s *templateService) DeleteSandboxTemplate(ctx context.Context, req *sandboxv1.DeleteSandboxTemplateRequest) (*emptypb.Empty, error) {
	id := req.GetSandboxTemplateId()
	if id == "" {
		return nil, bad("sandbox_template_id", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	e := s.templateEntry(callerOf(ctx), id)
	if e == nil || e.now.GetDeleted() {
		return nil, noTemplate(id)
	}
	e.now = proto.CloneOf(e.now)
	e.now.Deleted, e.now.DeleteTime = true, timestamppb.New(s.now())
	return &emptypb.Empty{}, nil
}

var uuidPattern = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

func validUUID(text string) bool { return uuidPattern.MatchString(text) }

// newUUID returns a random one.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
