package cwsandbox

// WithoutOwnerMark leaves the owner mark off. By default every sandbox carries, as an annotation, the host name, pid and
// start of the process that created it, which boot and pid namespace those belong to, a random name and the version of
// this package: what [Info] shows as its [Owner], and [Client.Orphans] judges by. Orphans never finds a sandbox without it.
func WithoutOwnerMark() Option {
	return createOption{printed("WithoutOwnerMark"), func(c *createConfig) { c.unmarked = true }}
}

// mark puts the owner mark on the create.
func (c *createConfig) mark(o Owner) {
	if !c.unmarked {
		c.annotations[ownerKey] = setting[string]{value: o.encode()}
	}
}

// checkAnnotations is the rule for the number of annotations. The mark and the lease take their part of the limit.
func (c *createConfig) checkAnnotations() {
	const field = "spec.annotations"
	n, room := len(c.annotations), maxAnnotations
	if c.lease.value != 0 {
		room -= leaseSlots
	}
	switch {
	case n > room:
		c.faults.add(field, "must be at most %d, are %d", room, n)
	case n > room-ownerSlots && !c.unmarked:
		c.faults.add(field, "must be at most %d beside the owner mark, are %d: WithoutOwnerMark makes room", room-ownerSlots, n)
	}
}

// RunTag returns the tag that [WithRunTag] sets: cwsandbox-go-run. and a random name, the same as long as this process
// lives. Log it, and what the process leaves behind can be listed and purged later with [WithTags].
func RunTag() string { return runTagPrefix + processSession() }

// WithRunTag is [WithTags] with the [RunTag] of this process. Without it no tag is set that the caller did not ask for.
func WithRunTag() TagOption { return WithTags(RunTag()) }

// WithOwner lists sandboxes whose [Owner] equals o in every field that o has. WithOwner(cwsandbox.Owner{Host: "build-7"})
// finds what processes on a host have created, WithOwner(sb.Info().Owner) what the creator of sb has. The service has no
// such filter: it is applied here. An Owner without any field is an error.
func WithOwner(o Owner) ListOption {
	return listOption(func(c *listConfig) {
		if o == (Owner{}) {
			c.faults.add("owner", "must have at least one field")
		}
		c.owner = o
	})
}
