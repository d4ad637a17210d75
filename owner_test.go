package cwsandbox

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// somebody is an owner all of whose fields are known.
var somebody = Owner{
	Host: "build-7", Boot: "9b1c", PIDNamespace: "pid:[1] time:[2]", Session: "abc", SDK: "v1.2.3", PID: 4711,
	Started: time.Date(2026, 11, 24, 8, 30, 0, 120e6, time.UTC), ticks: 123456,
}

// but returns a copy of the owner that differs.
func (o Owner) but(change func(*Owner)) Owner {
	change(&o)
	return o
}

// marked is a running sandbox with an owner mark.
func marked(id string, o Owner) *sandboxv1.Sandbox {
	sb := record(id, runningV)
	sb.Spec.Annotations = map[string]string{ownerKey: o.encode()}
	return sb
}

func TestOwnerMark(t *testing.T) {
	t.Run("travels", func(t *testing.T) {
		assert.Equal(t, somebody, decodeOwner(somebody.encode()))
		little := Owner{Session: "abc", SDK: "v1", PID: 1}
		assert.Equal(t, little, decodeOwner(little.encode()))
		assert.JSONEq(t, `{"session": "abc", "sdk": "v1", "pid": 1}`, little.encode())
	})
	t.Run("of a later version", func(t *testing.T) {
		assert.Equal(t, Owner{Host: "h", PID: 1}, decodeOwner(`{"host": "h", "pid": 1, "color": ["red"]}`))
	})
	t.Run("damaged", func(t *testing.T) {
		for _, value := range []string{
			"", "{", "null", "[]", "{}", `"pid"`, `{"pid": "1"}`, `{"pid": 0}`, `{"pid": -1}`, `{"pid": 4294967297}`, `{"pid": 1.5}`,
			`{"pid": 1, "ticks": -1}`, `{"pid": 1, "started": "today"}`, `{"pid": 1} {"pid": 2}`, somebody.encode()[1:],
		} {
			assert.Zero(t, decodeOwner(value), value)
		}
	})
	bubble(t, "is on every create", func(t *testing.T, f *fake, c *Client) {
		c.host = &host{self: func() Owner { return somebody }}
		s, err := c.NewSession()
		require.NoError(t, err)
		creating(t, c)
		_, err = s.Create(t.Context(), WithAnnotation("mine", "v"))
		require.NoError(t, err)
		for i, n := range []int{1, 2} {
			own, owner := splitOwner(f.annotations(i))
			assert.Len(t, f.annotations(i), n)
			assert.Len(t, own, n-1)
			assert.Equal(t, somebody, owner)
		}
	})
	bubble(t, "can be left off", func(t *testing.T, f *fake, c *Client) {
		s, err := c.NewSession(WithoutOwnerMark())
		require.NoError(t, err)
		_, err = s.Create(t.Context())
		require.NoError(t, err)
		_, err = c.Create(t.Context(), Defaults(WithoutOwnerMark()), WithAnnotation("mine", "v"))
		require.NoError(t, err)
		assert.Empty(t, f.annotations(0))
		assert.Equal(t, map[string]string{"mine": "v"}, f.annotations(1))
	})
}

// annotations are those of create number i.
func (f *fake) annotations(i int) map[string]string {
	return f.of("CreateSandbox")[i].request.(*sandboxv1.CreateSandboxRequest).GetSandbox().GetSpec().GetAnnotations()
}

func TestInfoShowsTheOwner(t *testing.T) {
	sb := marked("sb-1", somebody)
	info := infoOf(sb, time.Now())
	assert.Equal(t, somebody, info.Owner)
	assert.Nil(t, info.Annotations)

	sb.Spec.Annotations["mine"] = "v"
	info = infoOf(sb, time.Now())
	assert.Equal(t, somebody, info.Owner)
	assert.Equal(t, map[string]string{"mine": "v"}, info.Annotations)
	assert.Len(t, sb.Spec.Annotations, 2, "the record is not changed")

	sb.Spec.Annotations[ownerKey] = "damaged"
	info = infoOf(sb, time.Now())
	assert.Zero(t, info.Owner)
	assert.Equal(t, map[string]string{"mine": "v"}, info.Annotations)
}

func TestThisProcess(t *testing.T) {
	o := thisHost.self()
	name, err := os.Hostname()
	require.NoError(t, err)
	assert.Equal(t, name, o.Host)
	assert.Equal(t, os.Getpid(), o.PID)
	assert.Equal(t, version(), o.SDK)
	assert.Equal(t, "cwsandbox-go-run."+o.Session, RunTag())
	assert.Regexp(t, regexp.MustCompile(`^[a-z0-9]{26}$`), o.Session)
	assert.Equal(t, o, thisHost.self())
	assert.True(t, json.Valid([]byte(o.encode())))
	assert.False(t, thisHost.dead(o))
}

func TestRunTag(t *testing.T) {
	bubble(t, "is set when asked for", func(t *testing.T, f *fake, c *Client) {
		creating(t, c)
		_, err := c.Create(t.Context(), WithTags("a"), WithRunTag(), WithRunTag())
		require.NoError(t, err)
		tags := func(i int) []string {
			return f.of("CreateSandbox")[i].request.(*sandboxv1.CreateSandboxRequest).GetSandbox().GetSpec().GetTags()
		}
		assert.Empty(t, tags(0))
		assert.Equal(t, []string{"a", RunTag()}, tags(1))
	})
}

func TestDead(t *testing.T) {
	self := somebody.but(func(o *Owner) { o.Session, o.PID, o.ticks = "self", 1, 99 })
	for _, row := range []struct {
		name   string
		change func(*Owner)
		dead   bool
	}{
		{"the same boot and namespace", func(*Owner) {}, true},
		{"another host", func(o *Owner) { o.Host = "build-8" }, false},
		{"another boot", func(o *Owner) { o.Boot = "9b1d" }, false},
		{"another pid namespace", func(o *Owner) { o.PIDNamespace = "pid:[3] time:[2]" }, false},
		{"another time namespace", func(o *Owner) { o.PIDNamespace = "pid:[1] time:[4]" }, false},
		{"no host", func(o *Owner) { o.Host = "" }, false},
		{"no boot", func(o *Owner) { o.Boot = "" }, false},
		{"no namespace", func(o *Owner) { o.PIDNamespace = "" }, false},
		{"no start", func(o *Owner) { o.ticks = 0 }, false},
		{"no mark", func(o *Owner) { *o = Owner{} }, false},
		{"this process", func(o *Owner) { o.Session = self.Session }, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			owner := somebody.but(row.change)
			h := &host{
				self:  func() Owner { return self },
				ended: func(pid int, started uint64) bool { return pid == owner.PID && started == owner.ticks },
			}
			assert.Equal(t, row.dead, h.dead(owner))
			h.ended = func(int, uint64) bool { return false }
			assert.False(t, h.dead(owner), "alive")
			bare := Owner{Host: owner.Host, PID: 1}
			h.self = func() Owner { return bare }
			h.ended = func(int, uint64) bool { return true }
			assert.False(t, h.dead(owner), "a host that knows nothing of itself")
			assert.False(t, h.dead(bare), "nobody knows anything")
		})
	}
}

func FuzzOwnerMark(f *testing.F) {
	f.Add(somebody.encode())
	f.Add(`{"pid": 1, "started": "9999-12-31T23:59:59-14:00"}`)
	f.Fuzz(func(t *testing.T, value string) {
		o := decodeOwner(value)
		if o == (Owner{}) {
			return
		}
		assert.Positive(t, o.PID)
		again := decodeOwner(o.encode())
		if strings.ToValidUTF8(value, "") == value && o.Started.Year() < 10000 && o.Started.Year() >= 0 {
			assert.Equal(t, o, again)
		}
	})
}
