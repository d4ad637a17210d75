package compose

import (
	"fmt"
	"iter"
	"maps"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A service is what is understood of one. Ports need not be published: all services share one network. Labels say nothing.
type service struct {
	Image       string
	Build       yaml.Node // of no use beside an image
	Command     words
	Entrypoint  words
	Environment variables
	WorkingDir  string       `yaml:"working_dir"`
	DependsOn   dependencies `yaml:"depends_on"`
	Healthcheck *healthcheck
	Deploy      *deploy
	Ports       yaml.Node
	Expose      yaml.Node
	Labels      yaml.Node
	Rest        map[string]yaml.Node `yaml:",inline"`
}

// words are a list, or one text that is split as a shell does.
type words []string

func (w *words) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind != yaml.ScalarNode {
		return n.Decode((*[]string)(w))
	}
	if n.Tag == "!!null" {
		return nil
	}
	list, err := split(n.Value)
	*w = list
	return err
}

// split understands quotes and backslashes.
func split(text string) ([]string, error) {
	var list []string
	var word strings.Builder
	var quote rune
	inWord, escaped := false, false
	for _, c := range text {
		switch {
		case escaped:
			if quote == '"' && !strings.ContainsRune(`"\$`+"`", c) {
				word.WriteRune('\\')
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '"' || c == '\'':
			quote, inWord = c, true
		case strings.ContainsRune(" \t\r\n", c):
			if inWord {
				list = append(list, word.String())
				word.Reset()
			}
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, fmt.Errorf("a quote is not closed in %q", text)
	}
	if inWord {
		list = append(list, word.String())
	}
	return list, nil
}

// variables are a map, or a list of NAME=value. One without a value would be taken from where Compose runs.
type variables map[string]string

func (v *variables) UnmarshalYAML(n *yaml.Node) error {
	*v = make(variables)
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			name, value, found := strings.Cut(item.Value, "=")
			if !found {
				return fmt.Errorf("variable %s has no value", name)
			}
			(*v)[name] = value
		}
		return nil
	}
	var values map[string]*string
	if err := n.Decode(&values); err != nil {
		return err
	}
	for name, value := range values {
		if value == nil {
			return fmt.Errorf("variable %s has no value", name)
		}
		(*v)[name] = *value
	}
	return nil
}

type dependency struct {
	service, condition string
	optional           bool
	rest               map[string]yaml.Node
}

// dependencies are a list of names, or a map from names to conditions.
type dependencies []dependency

func (d *dependencies) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		for _, item := range n.Content {
			*d = append(*d, dependency{service: item.Value})
		}
		return nil
	}
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("depends_on must be a list or a map")
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		var how struct {
			Condition string
			Required  *bool
			Restart   bool                 // there is nothing that restarts single services
			Rest      map[string]yaml.Node `yaml:",inline"`
		}
		if err := n.Content[i+1].Decode(&how); err != nil {
			return err
		}
		*d = append(*d, dependency{n.Content[i].Value, how.Condition, how.Required != nil && !*how.Required, how.Rest})
	}
	return nil
}

type healthcheck struct {
	Test        yaml.Node
	Interval    string
	Timeout     string
	Retries     *int32
	StartPeriod string `yaml:"start_period"`
	Disable     bool
	Rest        map[string]yaml.Node `yaml:",inline"`
}

// probe translates a health check: what is left out is Compose's own default, not a probe's.
func (r *reader) probe(path string, h *healthcheck) *sandboxv1.Probe {
	if h == nil || h.Disable {
		return nil
	}
	r.unknown(path, h.Rest)
	exec := r.test(path+".test", &h.Test)
	if exec == nil {
		return nil
	}
	p := &sandboxv1.Probe{
		Exec:             exec,
		PeriodSeconds:    r.seconds(path+".interval", h.Interval, 30),
		TimeoutSeconds:   r.seconds(path+".timeout", h.Timeout, 30),
		FailureThreshold: 3,
	}
	if h.Retries != nil {
		p.FailureThreshold = *h.Retries
	}
	if p.FailureThreshold < 1 {
		r.fault(path+".retries", "must be at least 1")
	}
	if period := max(p.PeriodSeconds, 1); h.StartPeriod != "" {
		start := r.seconds(path+".start_period", h.StartPeriod, 0)
		p.FailureThreshold += (start + period - 1) / period
	}
	return p
}

// test is nil where there is no check.
func (r *reader) test(path string, n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode && n.Value != "" {
		return []string{"/bin/sh", "-c", n.Value}
	}
	var list []string
	if n.Kind != yaml.SequenceNode || n.Decode(&list) != nil || len(list) == 0 {
		r.fault(path, "must be a command")
		return nil
	}
	switch kind, rest := list[0], list[1:]; {
	case kind == "NONE":
		return nil
	case kind == "CMD" && len(rest) > 0:
		return rest
	case kind == "CMD-SHELL" && len(rest) == 1:
		return []string{"/bin/sh", "-c", rest[0]}
	}
	r.fault(path, "must begin with CMD, CMD-SHELL or NONE")
	return nil
}

// seconds reads a duration, which a probe has in whole seconds.
func (r *reader) seconds(path, text string, byDefault int32) int32 {
	if text == "" {
		return byDefault
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d < 0:
		r.fault(path, "must be a duration such as 10s, is %q", text)
	case d%time.Second != 0:
		r.fault(path, "must be in whole seconds, is %q", text)
	case d > math.MaxInt16*time.Second:
		r.fault(path, "must be at most %d seconds, is %q", math.MaxInt16, text)
	default:
		return int32(d / time.Second)
	}
	return byDefault
}

type deploy struct {
	Resources struct {
		Limits       amounts
		Reservations amounts
		Rest         map[string]yaml.Node `yaml:",inline"`
	}
	Rest map[string]yaml.Node `yaml:",inline"`
}

type amounts struct {
	CPUs   string
	Memory string
	Rest   map[string]yaml.Node `yaml:",inline"`
}

// resources is nil where none are stated. Where only one side is, the other one is the same.
func (r *reader) resources(path string, d *deploy) *sandboxv1.ResourceRequirements {
	if d == nil {
		return nil
	}
	r.unknown(path, d.Rest)
	path += ".resources"
	r.unknown(path, d.Resources.Rest)
	limits := r.amounts(path+".limits", d.Resources.Limits)
	requests := r.amounts(path+".reservations", d.Resources.Reservations)
	switch {
	case limits == nil && requests == nil:
		return nil
	case limits == nil:
		limits = requests
	case requests == nil:
		requests = limits
	}
	return &sandboxv1.ResourceRequirements{Requests: requests, Limits: limits}
}

func (r *reader) amounts(path string, a amounts) *sandboxv1.Resources {
	r.unknown(path, a.Rest)
	if a.CPUs == "" && a.Memory == "" {
		return nil
	}
	return &sandboxv1.Resources{Cpu: a.CPUs, Memory: r.memory(path+".memory", a.Memory)}
}

// memory reads an amount of Compose, whose units are powers of 1024, as a quantity.
func (r *reader) memory(path, text string) string {
	if text == "" {
		return ""
	}
	unit := strings.TrimLeft(strings.ToLower(text), "0123456789.")
	number := text[:len(text)-len(unit)]
	suffix, known := map[string]string{
		"": "", "b": "", "k": "Ki", "kb": "Ki", "m": "Mi", "mb": "Mi", "g": "Gi", "gb": "Gi",
	}[unit]
	if _, err := strconv.ParseFloat(number, 64); err != nil || !known {
		r.fault(path, "must be an amount such as 512m, is %q", text)
	}
	return number + suffix
}

func keys[V any](m map[string]V) iter.Seq[string] { return maps.Keys(m) }

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
