package localserver

import (
	"context"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"

	"github.com/cwsandbox/cwsandbox-go/internal/overlay"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// CreateSandboxFromTemplate accepts a sandbox of a template with the overrides laid over it: each field that they have
// replaces the template's as a whole. From then on the sandbox has nothing more to do with the template.
func (s *sandboxService) CreateSandboxFromTemplate(ctx context.Context, req *sandboxv1.CreateSandboxFromTemplateRequest) (*sandboxv1.Sandbox, error) {
	sb, err := s.create(ctx, "CreateSandboxFromTemplate", req, func(who identity) (*plan, error) {
		id := req.GetTemplateId()
		if id == "" {
			return nil, bad("template_id", "must not be empty")
		}
		t := s.template(who, id)
		if t == nil || t.GetDeleted() {
			return nil, noTemplate(id)
		}
		spec := new(sandboxv1.SandboxSpec)
		overlay.Put(spec, proto.CloneOf(t.GetSpec())) // shared by whoever reads it
		overlay.Put(spec, req.GetOverrides())
		p, err := s.plan(&sandboxv1.Sandbox{Spec: spec, DisplayName: req.GetDisplayName()}, who)
		if err != nil {
			return nil, err
		}
		p.template, p.templateRevision = t.GetSandboxTemplateId(), t.GetRevision()
		return p, nil
	})
	return sb, moveFields(err, "overrides.")
}

// moveFields puts another name where the field violations of an error say spec.
func moveFields(err error, to string) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err).Proto()
	var details []protoadapt.MessageV1
	for _, d := range status.Convert(err).Details() {
		if bad, ok := d.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				if field, ok := strings.CutPrefix(v.GetField(), "spec."); ok {
					st.Message = strings.Replace(st.GetMessage(), v.GetField(), to+field, 1)
					v.Field = to + field
				}
			}
		}
		details = append(details, d.(protoadapt.MessageV1))
	}
	st.Details = nil
	moved, err := status.FromProto(st).WithDetails(details...)
	if err != nil {
		return status.FromProto(st).Err()
	}
	return moved.Err()
}
