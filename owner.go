package cwsandbox

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"maps"
	"math"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// reservedPrefix begins the keys of the annotations that the SDK sets. It has no slash: to Kubernetes, which a policy of
	// the service may filter for, such a key is in nobody's domain.
	reservedPrefix = "cwsandbox-go-"
	// ownerKey is the annotation that holds the owner mark. It is one and not one per field, so that a mark arrives whole
	// or not at all, and takes little of what the caller may have.
	ownerKey   = reservedPrefix + "owner"
	ownerSlots = 1

	runTagPrefix = "cwsandbox-go-run."
)

// Owner is the process that created a sandbox, as the mark says that this package puts on everything it creates. All of
// it is zero where there is no mark, or none that can be read; single fields are where the process did not know them.
type Owner struct {
	Host         string    // name of the machine or container
	Boot         string    // which start of that machine's kernel; known on Linux
	PIDNamespace string    // in which PID counts, to be compared only; known on Linux
	Session      string    // random, one for each process; its [RunTag] ends in it
	SDK          string    // version of this package
	PID          int       // above zero in every mark
	Started      time.Time // when the process began, by its machine's clock, UTC; known on Linux

	// ticks is when the process began, on the clock that runs from the boot: exact, and the same for everybody who asks,
	// while Started moves when the clock is set.
	ticks uint64
}

// ownerMark is an Owner as it travels. Fields that a later version adds are skipped.
type ownerMark struct {
	Host         string    `json:"host,omitempty"`
	Boot         string    `json:"boot,omitempty"`
	PIDNamespace string    `json:"pidns,omitempty"`
	Session      string    `json:"session"`
	SDK          string    `json:"sdk"`
	PID          int       `json:"pid"`
	Started      time.Time `json:"started,omitzero"`
	Ticks        uint64    `json:"ticks,omitempty"`
}

// encode returns the value of the annotation.
func (o Owner) encode() string {
	data, _ := json.Marshal(ownerMark{
		Host: o.Host, Boot: o.Boot, PIDNamespace: o.PIDNamespace, Session: o.Session, SDK: o.SDK, PID: o.PID,
		Started: o.Started, Ticks: o.ticks,
	}) // nothing in it can fail: a clock of this century has a year of four digits
	return string(data)
}

// decodeOwner reads the value of the annotation.
func decodeOwner(value string) Owner {
	var m ownerMark
	if err := json.Unmarshal([]byte(value), &m); err != nil || m.PID <= 0 || m.PID > math.MaxInt32 {
		return Owner{}
	}
	return Owner{
		Host: m.Host, Boot: m.Boot, PIDNamespace: m.PIDNamespace, Session: m.Session, SDK: m.SDK, PID: m.PID,
		Started: m.Started.UTC(), ticks: m.Ticks,
	}
}

// splitOwner takes the mark out of a sandbox's annotations and returns the caller's own ones, a copy.
func splitOwner(annotations map[string]string) (own map[string]string, owner Owner) {
	value, marked := annotations[ownerKey]
	if !marked {
		return maps.Clone(annotations), Owner{}
	}
	if len(annotations) > 1 {
		own = maps.Clone(annotations)
		delete(own, ownerKey)
	}
	return own, decodeOwner(value)
}

// matches reports whether o has every field that pattern has.
func (o Owner) matches(pattern Owner) bool {
	return cmp.Or(pattern.Host, o.Host) == o.Host &&
		cmp.Or(pattern.Boot, o.Boot) == o.Boot &&
		cmp.Or(pattern.PIDNamespace, o.PIDNamespace) == o.PIDNamespace &&
		cmp.Or(pattern.Session, o.Session) == o.Session &&
		cmp.Or(pattern.SDK, o.SDK) == o.SDK &&
		cmp.Or(pattern.PID, o.PID) == o.PID &&
		(pattern.Started.IsZero() || pattern.Started.Equal(o.Started))
}

// host is where this process runs, as far as it matters for owners.
type host struct {
	self  func() Owner                       // this process
	ended func(pid int, started uint64) bool // whether it is certain that a process of this pid namespace has
}

// thisHost looks at the machine when it is first asked.
var thisHost = &host{self: sync.OnceValue(readOwner), ended: processEnded}

// readOwner describes this process.
func readOwner() Owner {
	o := Owner{Session: processSession(), SDK: version(), PID: os.Getpid()}
	o.Host, _ = os.Hostname() // without it the mark proves nothing
	o.addSystem()
	return o
}

// processSession is the random name of this process.
var processSession = sync.OnceValue(func() string { return strings.ToLower(rand.Text()) })

// dead reports whether it is certain that the owner has ended. Whoever ran elsewhere may be alive: on another machine,
// under another boot of one that has the same name, in another pid namespace.
//
// The number of a pid namespace is given again only when nothing lives in the old one. An owner from there has ended, so
// it is no mistake to look for it here. Machines that were cloned with their memory share the boot and the numbers; of
// those at least the ones that were given names of their own are told apart.
func (h *host) dead(o Owner) bool {
	self := h.self()
	known := o.Host != "" && o.Boot != "" && o.PIDNamespace != "" && o.ticks != 0
	here := o.Host == self.Host && o.Boot == self.Boot && o.PIDNamespace == self.PIDNamespace
	return known && here && o.Session != self.Session && h.ended(o.PID, o.ticks)
}
