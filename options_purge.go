package cwsandbox

// PurgeOption is an option of [Client.Purge] and [Client.PurgeCount].
type PurgeOption interface{ applyPurge(*purgeConfig) }

// purgeConfig is what a purge selects.
type purgeConfig struct {
	faults faults
	tags   []string
}

func newPurgeConfig(op string, opts []PurgeOption) (purgeConfig, error) {
	var c purgeConfig
	applyAll(&c.faults, opts, func(o PurgeOption) { o.applyPurge(&c) })
	return c, c.faults.err(call{op: op})
}

func (o tagOption) applyPurge(c *purgeConfig) { c.tags = addTags(&c.faults, "tags", c.tags, o) }
