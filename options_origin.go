package cwsandbox

import "fmt"

// WithTemplate creates the sandbox from a template of the organization, by its id; a name will not do. What is given
// beside it, in the same layer or in stronger ones, is laid over the template, and replaces there what it names as a
// whole; everything else stays as the template has it. So only what was given is sent:
//
//   - nothing of what this package takes by default: no image, no command, no lifetime, no owner mark;
//   - nothing of weaker layers, such as the defaults of a session under a call with WithTemplate, but for tags, which all
//     layers add to and which replace the template's, and for what is not part of the template: display name, grace, timeouts;
//   - what concerns a container replaces all containers of the template by this one, with nothing of theirs, and so it
//     needs [WithImage]; the main process is the image's own unless [WithCommand] is given too;
//   - nothing can be replaced by nothing: an empty list and a lifetime of zero leave the template's.
//
// There can be no [WithLease]: what the template runs is not known. [Client.Orphans] does not find the sandbox; tags do.
// What it was made of is in [Info].
func WithTemplate(id string) Option {
	return createOption{printed("WithTemplate", id), func(c *createConfig) {
		checkWord(&c.faults, "template_id", id)
		c.setOrigin(origin{template: id})
	}}
}

// WithCompose creates the sandbox from a Docker Compose document: every service of it becomes a container of one sandbox.
// They share its network, where the names of services lead to 127.0.0.1; their ports stay inside. Containers start in the
// order of their dependencies, and health checks hold back what depends on them.
//
// The document is read when the sandbox is created, at most 256 KiB of it, and sent as it is: variables in it are not
// replaced, and files that it names are not read. Nothing is built, so every service needs an image. The service
// translates it; the containers show in [Info] once it has.
//
// Tags, annotations, lifetime, runners and display name apply as on other creates. What else would make or change a
// container, such as [WithImage], [WithEnv] and [WithFile], is an error in the layer of WithCompose and stronger ones, and
// skipped in weaker ones. There can be no [WithLease], and there is no owner mark: [Client.Orphans] does not find the
// sandbox; tags do.
func WithCompose(doc Compose) Option {
	doc = doc.clone()
	shown := fmt.Sprintf("WithCompose(%s, primary %q)", doc.shown(), doc.Primary)
	return createOption{shown, func(c *createConfig) {
		contents := doc.check(&c.faults)
		c.setOrigin(origin{compose: &composeFile{doc, contents}})
	}}
}
