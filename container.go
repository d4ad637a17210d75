package cwsandbox

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Container is one container of a sandbox that has several, see [WithContainers]. The containers of a sandbox share the
// network, so that they reach each other on localhost, and the volumes that they mount. Each has its own files and its
// own processes. It prints without the values of its variables and the contents of its files.
type Container struct {
	// Name is by what [WithContainer] finds the container: a DNS label, unique in the sandbox. An only container may go
	// without and is "main" then.
	Name string
	// Image is required.
	Image string
	// Command is the main process: a program and its arguments, with no shell in between. Empty: the image's own
	// command; [KeepAlive] waits until the sandbox is stopped.
	Command []string
	// Env are the environment variables.
	Env map[string]string
	// Dir is the working directory, an absolute path. Empty: the image's own.
	Dir string
	// Resources are required where there are several containers. Only the primary one can have a GPU.
	Resources Resources
	// Files are put into the container before its main process starts. They can be read there but not changed.
	Files []File
	// Mounts are the volumes of the sandbox that it sees, see [WithVolumes]. What a [Volume] says of the primary container
	// need not be said here.
	Mounts []VolumeMount
	// Secrets become environment variables.
	Secrets []Secret
	// StartupProbe holds back the next container, and the sandbox, until it succeeds.
	StartupProbe Probe
	// SecurityContext sets privileges.
	SecurityContext SecurityContext
	// PullCredentials are for the registry that holds the image.
	PullCredentials PullCredentials
	// Primary marks the container whose main process decides when, and with which exit code, the sandbox ends, and which
	// commands, files and logs mean where none is named. Exactly one of several containers must be it.
	Primary bool
}

// File is a file that a container is given.
type File struct {
	Path string // absolute
	Data []byte
}

// KeepAlive is the command of a container that only waits, and ends well when the sandbox is stopped. It needs a shell and
// sleep in the image.
func KeepAlive() []string { return append([]string{keepAlive.name}, keepAlive.args...) }

// ContainerInfo is what was last seen of one container.
type ContainerInfo struct {
	Name     string
	State    State
	ExitCode *int // in StateCompleted and StateFailed only
	Restarts int
	// Spec is what the service keeps about what was asked for, but for the files, which may be large. It is zero where
	// the service keeps nothing.
	Spec Container
}

func (c Container) clone() Container {
	c.Command = slices.Clone(c.Command)
	c.Env = maps.Clone(c.Env)
	c.Resources = c.Resources.clone()
	c.Files = slices.Clone(c.Files)
	for i := range c.Files {
		c.Files[i].Data = slices.Clone(c.Files[i].Data)
	}
	c.Mounts = slices.Clone(c.Mounts)
	c.Secrets = slices.Clone(c.Secrets)
	c.StartupProbe = c.StartupProbe.clone()
	c.SecurityContext = c.SecurityContext.clone()
	return c
}

func cloneContainers(list []Container) []Container {
	list = slices.Clone(list)
	for i := range list {
		list[i] = list[i].clone()
	}
	return list
}

// String shows the fields that are set, without what may be secret.
func (c Container) String() string {
	var shown []string
	add := func(set bool, format string, args ...any) {
		if set {
			shown = append(shown, fmt.Sprintf(format, args...))
		}
	}
	add(true, "Name: %q, Image: %q", c.Name, c.Image)
	add(len(c.Command) > 0, "Command: %q", c.Command)
	add(len(c.Env) > 0, "Env: %q", slices.Sorted(maps.Keys(c.Env)))
	add(c.Dir != "", "Dir: %q", c.Dir)
	add(c.Resources != Resources{}, "Resources: %s", c.Resources.shown())
	for _, f := range c.Files {
		add(true, "File: %q (%d bytes)", f.Path, len(f.Data))
	}
	for _, m := range c.Mounts {
		add(true, "Mount: %+v", m)
	}
	for _, s := range c.Secrets {
		add(true, "Secret: %v", s)
	}
	add(!c.StartupProbe.none(), "StartupProbe: %+v", c.StartupProbe)
	add(!c.SecurityContext.none(), "SecurityContext: %v", c.SecurityContext)
	add(c.PullCredentials != PullCredentials{}, "PullCredentials: %+v", c.PullCredentials)
	add(c.Primary, "Primary")
	return "{" + strings.Join(shown, ", ") + "}"
}

// Format is String for every verb.
func (c Container) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String.
func (c Container) LogValue() slog.Value { return slog.StringValue(c.String()) }

var (
	// labelPattern is a label of the DNS.
	labelPattern    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	reservedPattern = regexp.MustCompile(`^(cw-object-store-agent(-.*)?|dns-egress(-probe)?|cws-engine)$`)
)

// checkContainers is the rule for a list of containers that was given as one.
func checkContainers(f *faults, list []Container) {
	names, primaries := make(map[string]bool), 0
	for i, c := range list {
		field := indexed("spec.containers", i)
		switch {
		case c.Name == "" && len(list) == 1:
		case !labelPattern.MatchString(c.Name):
			f.add(field+".name", "must be a DNS label of at most 63 characters, is %q", c.Name)
		case reservedPattern.MatchString(c.Name):
			f.add(field+".name", "must not be %q, which is the platform's", c.Name)
		case names[c.Name]:
			f.add(field+".name", "must not repeat %q", c.Name)
		}
		names[c.Name] = true
		if c.Primary {
			primaries++
		}
		if len(list) > 1 {
			if c.Resources.requirements() == nil {
				f.add(field+".resource_requirements", "must be given where there are several containers")
			}
			if c.Resources.GPU != nil && !c.Primary {
				f.add(field+".resource_requirements.requests.gpu", "must be asked for on the primary container only")
			}
		}
		c.check(f, field)
	}
	if len(list) > 1 && primaries != 1 {
		f.add("spec.containers", "exactly one of several must be primary, %d are", primaries)
	}
}

func (c Container) check(f *faults, field string) {
	checkWord(f, field+".image", c.Image)
	if len(c.Command) > 0 {
		checkCommand(f, field, c.Command[0], c.Command[1:])
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		checkEnvName(f, field+".environment_variables", name)
		checkText(f, keyed(field+".environment_variables", name), c.Env[name])
	}
	if c.Dir != "" {
		checkDir(f, field+".working_dir", c.Dir)
	}
	c.Resources.check(f, field+".resource_requirements")
	paths := make(map[string]bool)
	for i, file := range c.Files {
		at := indexed(field+".files", i) + ".path"
		checkMountedFile(f, at, file.Path)
		if paths[file.Path] {
			f.add(at, "must not repeat %q", file.Path)
		}
		paths[file.Path] = true
	}
	for i, s := range c.Secrets {
		s.check(f, secretField(field, c.Secrets[:i], s))
	}
	c.StartupProbe.check(f, field+".startup_probe")
	c.SecurityContext.check(f, field+".security_context")
	c.PullCredentials.check(f, field+".image_pull_credentials")
}

func checkCommand(f *faults, field, name string, args []string) {
	checkWord(f, field+".command", name)
	for i, arg := range args {
		checkText(f, indexed(field+".args", i), arg)
	}
}

// message is the container as the service knows it.
func (c Container) message() *sandboxv1.Container {
	m := &sandboxv1.Container{
		Name:                 c.Name,
		Image:                c.Image,
		WorkingDir:           c.Dir,
		ResourceRequirements: c.Resources.requirements(),
		VolumeMounts:         mountMessages(c.Mounts),
		SecretStores:         secretStores(c.Secrets),
		StartupProbe:         c.StartupProbe.message(),
		SecurityContext:      c.SecurityContext.message(),
		ImagePullCredentials: c.PullCredentials.message(),
	}
	if len(c.Command) > 0 {
		m.Command, m.Args = c.Command[0], c.Command[1:]
	}
	if len(c.Env) > 0 {
		m.EnvironmentVariables = c.Env
	}
	if c.Primary {
		m.Primary = &c.Primary
	}
	for _, file := range c.Files {
		m.Files = append(m.Files, &sandboxv1.FileMount{Path: file.Path, Content: file.Data})
	}
	return m
}

// containerOf reads a container of the service's, but for its files: what is kept of a sandbox should stay small.
func containerOf(m *sandboxv1.Container) Container {
	c := Container{
		Name:            m.GetName(),
		Image:           m.GetImage(),
		Env:             m.GetEnvironmentVariables(),
		Dir:             m.GetWorkingDir(),
		Resources:       resourcesOf(m.GetResourceRequirements(), m.GetResources()),
		Mounts:          mountsOf(m.GetVolumeMounts()),
		Secrets:         secretsOf(m.GetSecretStores()),
		StartupProbe:    probeOf(m.GetStartupProbe()),
		SecurityContext: securityContextOf(m.GetSecurityContext()),
		PullCredentials: pullCredentialsOf(m.GetImagePullCredentials()),
		Primary:         m.GetPrimary(),
	}
	if m.GetCommand() != "" {
		c.Command = append([]string{m.GetCommand()}, m.GetArgs()...)
	}
	return c
}

// containersOf reads the containers of a sandbox: those of its spec in their order, each with its status, or where there is
// no spec those of the status.
func containersOf(sb *sandboxv1.Sandbox) []ContainerInfo {
	var list []ContainerInfo
	primary := primaryOf(sb.GetSpec().GetContainers())
	for _, m := range sb.GetSpec().GetContainers() {
		c := containerOf(m)
		c.Primary = m == primary
		list = append(list, ContainerInfo{Name: c.Name, Spec: c})
	}
	for _, status := range sb.GetStatus().GetContainerStatuses() {
		i := slices.IndexFunc(list, func(c ContainerInfo) bool { return c.Name == status.GetName() })
		if i < 0 {
			i = len(list)
			list = append(list, ContainerInfo{Name: status.GetName()})
		}
		list[i].State, list[i].Restarts = State(status.GetState()), int(status.GetRestartCount())
		if list[i].State == StateCompleted || list[i].State == StateFailed {
			list[i].ExitCode = new(int(status.GetExitCode()))
		}
	}
	return list
}
