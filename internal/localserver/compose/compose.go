// Package compose translates Docker Compose documents into containers: the part of the format that a sandbox can carry out
// truly. Everything else in a document is refused by name.
package compose

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// maxNodes bounds a document once every alias stands for a copy. Without aliases one of 256 KiB has fewer.
	maxNodes = 50_000
	// maxFaults bounds what is said about a document: nobody reads more.
	maxFaults = 100
)

// Input is a document and what is said beside it.
type Input struct {
	Contents []byte
	Primary  string
	Images   map[string]string // by service
	Defaults *sandboxv1.ResourceRequirements
}

// An Error says what is wrong with a document, or what of it is not served.
type Error struct {
	Unserved bool
	Faults   []string // each begins with the path of a key
}

func (e *Error) Error() string { return strings.Join(e.Faults, "; ") }

// UnknownServiceError says that something beside the document names a service that is not in it.
type UnknownServiceError struct{ Field, Service string }

func (e *UnknownServiceError) Error() string {
	return fmt.Sprintf("%s: there is no service %q in the document", e.Field, e.Service)
}

// Translate returns one container for each service, those that others depend on before them.
func Translate(in Input) ([]*sandboxv1.Container, error) {
	var r reader
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(in.Contents))
	if err := decoder.Decode(&root); err != nil {
		return nil, &Error{Faults: []string{"not a YAML document: " + strings.TrimPrefix(err.Error(), "yaml: ")}}
	}
	if !errors.Is(decoder.Decode(new(yaml.Node)), io.EOF) {
		r.refuse("a second document")
	}
	r.keys("", &root)
	if left := maxNodes; !expand(&root, &left) {
		r.fault("document", "must have at most %d nodes, with what its aliases stand for", maxNodes)
	}
	if len(r.faults) > 0 { // what follows takes unique keys and a bounded size for granted
		return nil, r.err()
	}
	services := r.document(&root)
	if err := r.err(); err != nil {
		return nil, err
	}
	for _, service := range slices.Sorted(keys(in.Images)) {
		if _, ok := services.byName[service]; !ok {
			return nil, &UnknownServiceError{"image_overrides", service}
		}
	}
	if _, ok := services.byName[in.Primary]; !ok {
		return nil, &UnknownServiceError{"primary_service", in.Primary}
	}
	order := r.order(services)
	var containers []*sandboxv1.Container
	for _, name := range order {
		s := services.byName[name]
		if image := in.Images[name]; image != "" {
			s.Image = image
		}
		c := r.container("services."+name, name, s, in.Defaults)
		if name == in.Primary {
			primary := true
			c.Primary = &primary
		}
		containers = append(containers, c)
	}
	return containers, r.err()
}

// A reader gathers what is wrong with a document.
type reader struct{ faults, unserved []string }

func (r *reader) fault(path, format string, args ...any) {
	if len(r.faults) < maxFaults {
		r.faults = append(r.faults, path+": "+fmt.Sprintf(format, args...))
	}
}

func (r *reader) refuse(path string) {
	if len(r.unserved) < maxFaults && !slices.Contains(r.unserved, path) {
		r.unserved = append(r.unserved, path)
	}
}

func (r *reader) err() error {
	switch {
	case len(r.faults) > 0:
		return &Error{Faults: r.faults}
	case len(r.unserved) > 0:
		return &Error{Unserved: true, Faults: r.unserved}
	}
	return nil
}

// keys goes through what is written, aliases aside. No mapping may have a key twice: the decoder would say so of every
// pair of them.
func (r *reader) keys(path string, n *yaml.Node) {
	switch n.Kind {
	case yaml.ScalarNode:
		r.variables(path, n)
	case yaml.MappingNode:
		seen := make(map[string]bool)
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			if seen[key] {
				r.fault(join(path, key), "is already defined")
			}
			seen[key] = true
			r.keys(join(path, key), n.Content[i+1])
		}
	case yaml.DocumentNode, yaml.SequenceNode:
		for _, item := range n.Content {
			r.keys(path, item)
		}
	}
}

// variables replaces $$ by $, and refuses what Compose would put a variable's value in for: nothing is known here that
// could have one.
func (r *reader) variables(path string, n *yaml.Node) {
	if strings.Contains(strings.ReplaceAll(n.Value, "$$", ""), "$") {
		r.refuse(fmt.Sprintf("%s: the variable in %q", path, n.Value))
	}
	n.Value = strings.ReplaceAll(n.Value, "$$", "$")
}

// expand puts what aliases stand for in their places. It gives up when more nodes than are left come of it, as they do of a
// document that contains itself.
func expand(n *yaml.Node, left *int) bool {
	if *left--; *left < 0 {
		return false
	}
	for i, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			item = item.Alias
			n.Content[i] = item
		}
		if !expand(item, left) {
			return false
		}
	}
	return true
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// services keeps the order of the document.
type services struct {
	names  []string
	byName map[string]*service
}

// document reads the top level.
func (r *reader) document(root *yaml.Node) services {
	found := services{byName: make(map[string]*service)}
	var top struct {
		Version  yaml.Node
		Name     yaml.Node
		Services yaml.Node
		Rest     map[string]yaml.Node `yaml:",inline"`
	}
	if err := root.Decode(&top); err != nil {
		r.fault("document", "%v", oneLine(err))
		return found
	}
	r.unknown("", top.Rest)
	if top.Services.Kind != yaml.MappingNode || len(top.Services.Content) == 0 {
		r.fault("services", "must hold at least one service")
		return found
	}
	for i := 0; i+1 < len(top.Services.Content); i += 2 {
		name := top.Services.Content[i].Value
		s := new(service)
		if err := top.Services.Content[i+1].Decode(s); err != nil {
			r.fault("services."+name, "%s", oneLine(err))
			continue
		}
		r.unknown("services."+name, s.Rest)
		found.names = append(found.names, name)
		found.byName[name] = s
	}
	return found
}

// unknown refuses keys, but for extensions, which are comments.
func (r *reader) unknown(path string, rest map[string]yaml.Node) {
	for _, key := range slices.Sorted(keys(rest)) {
		if !strings.HasPrefix(key, "x-") {
			r.refuse(join(path, key))
		}
	}
}

// order puts services behind those that they depend on, otherwise as they stand in the document.
func (r *reader) order(found services) []string {
	var order []string
	const visiting, done = 1, 2
	state := make(map[string]int)
	var visit func(name string)
	visit = func(name string) {
		state[name] = visiting
		path := "services." + name + ".depends_on"
		for _, d := range found.byName[name].DependsOn {
			switch _, ok := found.byName[d.service]; {
			case !ok && d.optional:
			case !ok:
				r.fault(path, "there is no service %q", d.service)
			case state[d.service] == visiting:
				r.fault(path, "%q depends on this service itself", d.service)
			case state[d.service] == 0:
				visit(d.service)
			}
			r.unknown(path+"."+d.service, d.rest)
			if d.condition != "" && d.condition != "service_started" && d.condition != "service_healthy" {
				r.refuse(path + "." + d.service + ".condition " + d.condition)
			}
		}
		state[name] = done
		order = append(order, name)
	}
	for _, name := range found.names {
		if state[name] == 0 {
			visit(name)
		}
	}
	return order
}

// container translates a service.
func (r *reader) container(path, name string, s *service, defaults *sandboxv1.ResourceRequirements) *sandboxv1.Container {
	c := &sandboxv1.Container{
		Name:                 name,
		Image:                s.Image,
		WorkingDir:           s.WorkingDir,
		EnvironmentVariables: s.Environment,
		ResourceRequirements: r.resources(path+".deploy", s.Deploy),
		StartupProbe:         r.probe(path+".healthcheck", s.Healthcheck),
	}
	if s.Image == "" {
		r.refuse(path + ": a service without an image")
	}
	if argv := slices.Concat(s.Entrypoint, s.Command); len(argv) > 0 {
		c.Command, c.Args = argv[0], argv[1:]
	}
	if c.ResourceRequirements == nil {
		c.ResourceRequirements = defaults
	}
	return c
}
