package cwsandbox

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/cwsandbox/cwsandbox-go/internal/overlay"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	maxTemplateName = 128 // characters
	maxTemplateSpec = 1 << 20
)

// Template is a stored description of sandboxes, which [WithTemplate] creates them from. It grants nothing: policy is
// looked at again with each create.
type Template struct {
	ID          string // for WithTemplate
	Name        string // unique among the templates of the organization that are not deleted
	Spec        TemplateSpec
	Attachments map[string]any // a JSON object, of which the service documents no more than that there is one

	Revision    int64 // grows by one with each change
	CreatorID   string
	CreateTime  time.Time // all times are UTC
	UpdateTime  time.Time
	DeleteTime  time.Time
	Deleted     bool // no sandbox can be created from it any more
	RequiresCKS bool // its sandboxes run on the organization's own runners only
}

// TemplateSpec is what a template says about sandboxes. What it leaves out, a create has to say.
type TemplateSpec struct {
	Containers    []Container // in part: each field may be missing
	Tags          []string
	Annotations   map[string]string
	MaxLifetime   time.Duration
	Placement     Placement
	Runners       []string
	RuntimeClass  string
	InstanceType  string
	Egress        []EgressRule
	Ingress       []IngressRule
	ObjectStorage ObjectStorage

	// JSON is the whole of it in the service's own notation, also what has no field here.
	JSON []byte
}

// TemplateReadOption is an option of [Client.Template] and [Client.Templates].
type TemplateReadOption interface{ applyTemplates(*templatesConfig) }

// templatesConfig says what to read.
type templatesConfig struct{ deleted bool }

type templateReadOption func(*templatesConfig)

func (o templateReadOption) applyTemplates(c *templatesConfig) { o(c) }

func newTemplatesConfig(opts []TemplateReadOption) (c templatesConfig) {
	for _, o := range opts {
		if o != nil {
			o.applyTemplates(&c)
		}
	}
	return c
}

// WithDeleted also finds templates that are deleted, for administrators of the organization.
func WithDeleted() TemplateReadOption {
	return templateReadOption(func(c *templatesConfig) { c.deleted = true })
}

// WithAttachments gives a template attachments, a JSON object whose meaning the service does not document. It is for
// [Client.CreateTemplate], [Client.ReplaceTemplate] and [Client.UpdateTemplate] only. Values are those that package
// encoding/json makes of JSON. Nil is none.
func WithAttachments(object map[string]any) Option {
	var converted *structpb.Struct
	var err error
	if object != nil {
		converted, err = structpb.NewStruct(object)
	}
	return createOption{"WithAttachments(…)", func(c *createConfig) {
		if err != nil {
			c.faults.add("attachments", "must be of what JSON knows: %v", err)
		}
		c.attachments = attachments{true, converted}
	}}
}

// attachments are those of a template.
type attachments struct {
	given  bool
	object *structpb.Struct // nil: none
}

// checkAttachments is the rule of creates of sandboxes.
func (c *createConfig) checkAttachments() {
	if c.attachments.given {
		c.faults.add("attachments", "are of a template, not of a sandbox (WithAttachments)")
	}
}

// CreateTemplate stores a template, for administrators of the organization. The options are those of a create, but only what
// is given counts: nothing of what this package takes by default, no image, no command, no lifetime, so that there may even be
// no container. What is not part of a template is an error: a display name, a lease, a template or Compose document to start
// from, spillover, and what concerns single calls, such as [WithGrace].
//
// The name has 1 to 128 characters, without blanks around it; one that is taken is [ErrConflict]. An answer that was lost is
// asked for again with the same request id. Templates are on the service's control plane, see [WithControlPlaneURL].
func (c *Client) CreateTemplate(ctx context.Context, name string, opts ...Option) (Template, error) {
	op := call{op: "create template", resource: "template"}
	m, err := newTemplate(op, name, opts)
	if err != nil {
		return Template{}, err
	}
	got, err := c.templates.CreateSandboxTemplate(ctx, &sandboxv1.CreateSandboxTemplateRequest{SandboxTemplate: m, RequestId: newRequestID()})
	return templateOf(got), op.wrapAbout(name, err)
}

// Template returns a template by its id or its name; a text that reads as a UUID is only taken for an id. Everybody in the
// organization may read templates.
func (c *Client) Template(ctx context.Context, idOrName string, opts ...TemplateReadOption) (Template, error) {
	op := call{op: "get template", resource: "template"}
	if err := checkTemplateID(op, idOrName); err != nil {
		return Template{}, err
	}
	got, err := c.templates.GetSandboxTemplate(ctx, &sandboxv1.GetSandboxTemplateRequest{
		SandboxTemplateId: idOrName, ShowDeleted: newTemplatesConfig(opts).deleted,
	})
	return templateOf(got), op.wrapAbout(idOrName, err)
}

// checkTemplateID is the rule for the template of a call.
func checkTemplateID(op call, id string) error {
	var f faults
	checkWord(&f, "sandbox_template_id", id)
	return f.err(op)
}

// Templates yields the templates of the organization, page by page, in the service's order. An error comes once, last, beside
// a zero value; each page is asked for again by the rules for reads before that. Each page is bounded by the request timeout,
// the whole walk by ctx.
func (c *Client) Templates(ctx context.Context, opts ...TemplateReadOption) iter.Seq2[Template, error] {
	deleted := newTemplatesConfig(opts).deleted
	return paged(call{op: "templates"}, func(token string) ([]Template, string, error) {
		page, err := c.templates.ListSandboxTemplates(ctx, &sandboxv1.ListSandboxTemplatesRequest{PageToken: token, ShowDeleted: deleted})
		return readAll(page.GetSandboxTemplates(), templateOf), page.GetNextPageToken(), err
	})
}

// ReplaceTemplate replaces the whole of a template, by its id, for administrators of the organization: a full replacement,
// without a field mask, with the rules of [Client.CreateTemplate]. Sandboxes that were created from it stay as they are. An
// answer that was lost may raise the revision twice.
func (c *Client) ReplaceTemplate(ctx context.Context, id, name string, opts ...Option) (Template, error) {
	op := call{op: "replace template", resource: "template"}
	if err := checkTemplateID(op, id); err != nil {
		return Template{}, err
	}
	m, err := newTemplate(op, name, opts)
	if err != nil {
		return Template{}, err
	}
	return c.updateTemplate(ctx, op, id, m, nil)
}

// UpdateTemplate changes what the options name of a template, by its id, for administrators of the organization: by a field
// mask, so that everything else stays; [WithRunners] alone also changes the placement, to [PlacementCKS]. [WithDisplayName]
// renames it. Fields are changed as a whole: [WithTags] replaces all
// tags, and what concerns a container replaces all containers by this one. [Client.ReplaceTemplate] is the way to take
// something out. Otherwise the rules are those of [Client.CreateTemplate]. Without options it is an error.
func (c *Client) UpdateTemplate(ctx context.Context, id string, opts ...Option) (Template, error) {
	op := call{op: "update template", resource: "template"}
	config := newTemplateConfig(opts)
	checkWord(&config.faults, "sandbox_template_id", id)
	var paths []string
	m := &sandboxv1.SandboxTemplate{DisplayName: config.displayName.value}
	if config.displayName.from != layerBuiltIn {
		checkTemplateName(&config.faults, m.DisplayName)
		paths = append(paths, "display_name")
	}
	config.template(m)
	for _, field := range fieldsOf(m.GetSpec()) {
		paths = append(paths, "spec."+field)
	}
	config.checkEmptied(paths)
	if config.attachments.given {
		paths = append(paths, "attachments")
	}
	if len(paths) == 0 && len(config.faults.list) == 0 {
		config.faults.add("update_mask", "must not be empty: no option says what to change")
	}
	if err := config.faults.err(op); err != nil {
		return Template{}, err
	}
	return c.updateTemplate(ctx, op, id, m, &fieldmaskpb.FieldMask{Paths: paths})
}

// emptyable are the options whose value can be that of a field which is not set, and these fields.
var emptyable = map[string]string{
	"WithMaxLifetime": "spec.max_lifetime_seconds", "WithTags": "spec.tags", "WithRunners": "spec.runner_ids",
	"WithPlacement": "spec.mode", "WithVolumes": "spec.volumes", "WithServices": "spec.services", "WithContainers": "spec.containers",
	"WithRuntimeClass": "spec.runtime_class", "WithInstanceType": "spec.instance_type", "WithObjectStorage": "spec.object_storage_access",
}

// checkEmptied refuses options that would take something out of a template: a mask names only what is set.
func (c *createConfig) checkEmptied(paths []string) {
	for _, option := range slices.Sorted(maps.Keys(emptyable)) {
		if field := emptyable[option]; c.given[option] > 0 && !slices.Contains(paths, field) {
			c.faults.add(field, "cannot be emptied by an update (%s): ReplaceTemplate can", option)
		}
	}
}

func (c *Client) updateTemplate(ctx context.Context, op call, id string, m *sandboxv1.SandboxTemplate, mask *fieldmaskpb.FieldMask) (Template, error) {
	got, err := c.templates.UpdateSandboxTemplate(ctx, &sandboxv1.UpdateSandboxTemplateRequest{
		SandboxTemplateId: id, SandboxTemplate: m, UpdateMask: mask,
	})
	return templateOf(got), op.wrapAbout(id, err)
}

// DeleteTemplate deletes a template, by its id, for administrators of the organization. Sandboxes that were created from it
// stay, its name becomes free, and administrators can still see it, see [WithDeleted]. One that the service does not know, or
// that is deleted already, is [ErrNotFound], or nil with [MissingOK].
func (c *Client) DeleteTemplate(ctx context.Context, id string, opts ...SettingDeleteOption) error {
	const op = "delete template"
	config, err := newSettingDeleteConfig(op, opts, func(f *faults) { checkWord(f, "sandbox_template_id", id) })
	if err != nil {
		return err
	}
	_, err = c.templates.DeleteSandboxTemplate(ctx, &sandboxv1.DeleteSandboxTemplateRequest{SandboxTemplateId: id})
	return forgiven(config.missingOK, call{op: op, resource: "template"}.wrapAbout(id, err))
}

// newTemplateConfig merges options without anything under them, and leaves what is wrong in the result's faults.
func newTemplateConfig(opts []Option) *createConfig {
	c := blankConfig()
	c.partial, c.unmarked, c.grace = true, true, -1
	c.apply(layerCall, opts)
	c.checkContainers()
	c.checkMounts()
	c.checkAnnotations()
	c.checkPlacement()
	for _, unfit := range []struct {
		given bool
		field string
	}{
		{c.given["WithLease"] > 0, "lease"},
		{c.given["WithoutOwnerMark"] > 0, "owner mark"},
		{!c.origin.plain(), "template_id"},
		{c.given["WithSpillover"] > 0, "spillover"},
		{c.grace >= 0, "grace_period_seconds"},
		{c.requestTimeout != 0, "request timeout"},
		{c.dataPlane != nil, "data plane"},
	} {
		if unfit.given {
			c.faults.add(unfit.field, "cannot be part of a template")
		}
	}
	return c
}

// newTemplate makes a whole template.
func newTemplate(op call, name string, opts []Option) (*sandboxv1.SandboxTemplate, error) {
	c := newTemplateConfig(opts)
	checkTemplateName(&c.faults, name)
	if c.displayName.from != layerBuiltIn {
		c.faults.add("display_name", "is given already (WithDisplayName)")
	}
	m := &sandboxv1.SandboxTemplate{DisplayName: name}
	c.template(m)
	return m, c.faults.err(op)
}

// template puts what the options say into a template.
func (c *createConfig) template(m *sandboxv1.SandboxTemplate) {
	spec := c.spec()
	aboutOne := func(option string) bool { return c.given[option] > 0 }
	if !c.hasContainers() && len(c.primaryMounts()) == 0 && !slices.ContainsFunc(ofOneContainer, aboutOne) {
		spec.Containers = nil
	}
	m.Spec = new(sandboxv1.PartialSandboxSpec)
	overlay.Put(m.Spec, spec)
	if size := proto.Size(m.Spec); size > maxTemplateSpec {
		c.faults.add("spec", "must have at most %d bytes, has %d", maxTemplateSpec, size)
	}
	m.Attachments = c.attachments.object
}

// fieldsOf names the fields that are set, in the order of their numbers.
func fieldsOf(m proto.Message) []string {
	var names []string
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		if m.ProtoReflect().Has(fields.Get(i)) {
			names = append(names, string(fields.Get(i).Name()))
		}
	}
	return names
}

func checkTemplateName(f *faults, name string) {
	checkText(f, "display_name", name)
	if n := utf8.RuneCountInString(name); n < 1 || n > maxTemplateName || strings.TrimSpace(name) != name {
		f.add("display_name", "must have 1 to %d characters, and no blanks around them, is %q", maxTemplateName, name)
	}
}

func templateOf(m *sandboxv1.SandboxTemplate) Template {
	t := Template{
		ID:          m.GetSandboxTemplateId(),
		Name:        m.GetDisplayName(),
		Spec:        templateSpecOf(m.GetSpec()),
		Revision:    m.GetRevision(),
		CreatorID:   m.GetCreateUserId(),
		CreateTime:  timeOf(m.GetCreateTime()),
		UpdateTime:  timeOf(m.GetUpdateTime()),
		DeleteTime:  timeOf(m.GetDeleteTime()),
		Deleted:     m.GetDeleted(),
		RequiresCKS: m.GetRequiresCks(),
	}
	if m.GetAttachments() != nil {
		t.Attachments = m.GetAttachments().AsMap()
	}
	return t
}

func templateSpecOf(partial *sandboxv1.PartialSandboxSpec) TemplateSpec {
	if partial == nil {
		return TemplateSpec{}
	}
	m := new(sandboxv1.SandboxSpec)
	overlay.Put(m, partial)
	access := m.GetObjectStorageAccess()
	spec := TemplateSpec{
		Tags:         slices.Clone(m.GetTags()),
		Annotations:  maps.Clone(m.GetAnnotations()),
		MaxLifetime:  time.Duration(m.GetMaxLifetimeSeconds()) * time.Second,
		Placement:    Placement(m.GetMode()),
		Runners:      slices.Clone(m.GetRunnerIds()),
		RuntimeClass: m.GetRuntimeClass(),
		InstanceType: m.GetInstanceType(),
		Egress:       egressOf(m.GetNetwork().GetEgress()),
		Ingress:      ingressOf(m.GetNetwork().GetIngress()),
		ObjectStorage: ObjectStorage{
			Buckets:    slices.Clone(access.GetBuckets()),
			Permission: ObjectStoragePermission(access.GetPermission()),
			Prefix:     access.GetObjectPrefix(),
		},
	}
	for _, container := range m.GetContainers() {
		spec.Containers = append(spec.Containers, containerOf(container))
	}
	spec.JSON, _ = protojson.Marshal(partial) // has been on the wire, so it can be written
	return spec
}

// String shows the template without what its containers hold, which may be secret.
func (t Template) String() string {
	return fmt.Sprintf("cwsandbox.Template(%s, %q, revision %d)", t.ID, t.Name, t.Revision)
}

// Format prints what String returns, whatever the verb.
func (t Template) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is what String returns.
func (t Template) LogValue() slog.Value { return slog.StringValue(t.String()) }

// String shows the spec without what its containers hold, which may be secret.
func (s TemplateSpec) String() string {
	return fmt.Sprintf("cwsandbox.TemplateSpec(%d containers)", len(s.Containers))
}

// Format prints what String returns, whatever the verb.
func (s TemplateSpec) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is what String returns.
func (s TemplateSpec) LogValue() slog.Value { return slog.StringValue(s.String()) }
