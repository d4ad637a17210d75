package localserver

import (
	"time"

	"google.golang.org/protobuf/proto"
)

// A catalog keeps what organizations administrate, of one kind. Its messages are replaced and never changed, so that
// answers may share them. It is guarded by the store's mutex, which every method expects to be held.
type catalog[M proto.Message] struct {
	entries []*entry[M] // oldest first
	last    int64       // sequence number
	creates replays[*entry[M]]
}

// An entry is one thing in a catalog.
type entry[M proto.Message] struct {
	organization string
	now          M
	first        M // the answer to the create, and to its repetitions

	sequence int64
	key      requestKey // zero: the create had none
}

// repeated returns the first answer to a create, if this one repeats it.
func (c *catalog[M]) repeated(made creation) (first M, ok bool, err error) {
	e, ok, err := c.creates.find(made)
	if !ok {
		return first, false, err
	}
	return e.first, true, nil
}

// add keeps what a create has made, and its answer.
func (c *catalog[M]) add(organization string, made creation, now, first M) {
	c.last++
	e := &entry[M]{organization: organization, now: now, first: first, sequence: c.last, key: made.key}
	c.entries = append(c.entries, e)
	c.creates.add(made, e)
}

// position is where an entry stands in lists: by its sequence number.
func (e *entry[M]) position() position { return position{create: time.Unix(0, e.sequence)} }

func (e *entry[M]) bytes() int { return proto.Size(e.now) }

// find returns the newest entry of an organization that matches, or nil.
func (c *catalog[M]) find(organization string, matches func(M) bool) *entry[M] {
	for i := len(c.entries) - 1; i >= 0; i-- {
		if e := c.entries[i]; e.organization == organization && matches(e.now) {
			return e
		}
	}
	return nil
}

func (c *catalog[M]) count(organization string) (n int) {
	for _, e := range c.entries {
		if e.organization == organization {
			n++
		}
	}
	return n
}

// remove forgets an entry and the key of its create.
func (c *catalog[M]) remove(gone *entry[M]) {
	c.creates.remove(gone.key)
	for i, e := range c.entries {
		if e == gone {
			c.entries = append(c.entries[:i:i], c.entries[i+1:]...)
			return
		}
	}
}

// page returns a page of what matches, newest first, and the token of the next one.
func (c *catalog[M]) page(tokens pageTokens, who identity, req pageRequest, matches func(M) bool) (page []M, next string, err error) {
	entries, next, err := pageOf(tokens, listDigest(who, req), req, c.entries, func(e *entry[M]) bool {
		return e.organization == who.organization && matches(e.now)
	})
	for _, e := range entries {
		page = append(page, e.now)
	}
	return page, next, err
}
