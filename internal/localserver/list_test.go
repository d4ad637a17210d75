package localserver

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type listRequest = sandboxv1.ListSandboxesRequest

func onRunner(ids ...string) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) {
		s.Mode, s.RunnerIds = sandboxv1.SandboxMode_SANDBOX_MODE_CKS, ids
	}
}

func TestListFilters(t *testing.T) {
	t.Run("C-046", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			active := w.run()
			ended := w.create(command("true")).GetSandboxId()
			broken := w.create(command("nobody-has-this")).GetSandboxId()
			synctest.Wait()
			assert.Equal(t, []string{active}, w.list(&listRequest{}))
			assert.ElementsMatch(t, []string{active, ended, broken}, w.list(&listRequest{ShowTerminated: true}))
			assert.Equal(t, []string{ended}, w.list(&listRequest{State: completed}))
			assert.Equal(t, []string{broken}, w.list(&listRequest{State: failed}))
			assert.Equal(t, []string{active}, w.list(&listRequest{State: running, ShowTerminated: true}))
		})
	})
	t.Run("C-047", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			both := w.run(tagged("a", "b"), onRunner("local-runner", "other"))
			one := w.run(tagged("a"))
			assert.ElementsMatch(t, []string{both, one}, w.list(&listRequest{Tags: []string{"a"}}))
			assert.Equal(t, []string{both}, w.list(&listRequest{Tags: []string{"b", "a"}}))
			assert.Empty(t, w.list(&listRequest{Tags: []string{"a", "c"}}))
			assert.ElementsMatch(t, []string{both, one}, w.list(&listRequest{RunnerIds: []string{"other", "local-runner"}}))
			assert.Empty(t, w.list(&listRequest{RunnerIds: []string{"other"}}))
			assert.Empty(t, w.list(&listRequest{VolumeIds: []string{"vol-1"}}))
			assert.Equal(t, []string{both}, w.list(&listRequest{RunnerIds: []string{"local-runner"}, Tags: []string{"b"}, State: running}))
			assert.Empty(t, w.list(&listRequest{RunnerIds: []string{"local-runner"}, Tags: []string{"b"}, State: creating}))
		})
	})
	t.Run("C-049", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			var groups [][]string
			for range 3 {
				var group []string
				for range 5 {
					group = append(group, w.create().GetSandboxId())
				}
				slices.Sort(group)
				groups = append(groups, group)
				time.Sleep(time.Second)
			}
			slices.Reverse(groups)
			assert.Equal(t, slices.Concat(groups...), w.list(&listRequest{}))
		})
	})
	t.Run("C-051", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(command("sleep", "1")).GetSandboxId()
			for {
				listed := slices.Contains(w.list(&listRequest{}), id)
				if terminal(w.state(id)) {
					assert.NotContains(t, w.list(&listRequest{}), id)
					return
				}
				assert.True(t, listed)
				time.Sleep(10 * time.Millisecond)
			}
		})
	})
}

// walk lists page by page and calls between after each.
func (w *world) walk(size int32, between func(page int)) []string {
	w.Helper()
	var ids, tokens []string
	for req := (&listRequest{PageSize: size}); ; {
		resp, err := w.api.ListSandboxes(w.ctx, req)
		require.NoError(w, err)
		for _, sb := range resp.GetSandboxes() {
			ids = append(ids, sb.GetSandboxId())
		}
		if resp.GetNextPageToken() == "" {
			return ids
		}
		require.Len(w, resp.GetSandboxes(), int(size))
		require.NotContains(w, tokens, resp.GetNextPageToken())
		tokens = append(tokens, resp.GetNextPageToken())
		req.PageToken = resp.GetNextPageToken()
		between(len(tokens))
	}
}

// A sized thing is large in a list.
type sized struct {
	at   position
	size int
}

func (s sized) position() position { return s.at }
func (s sized) bytes() int         { return s.size }

func TestListPages(t *testing.T) {
	t.Run("C-048", func(t *testing.T) {
		inWorld(t, Options{Retention: time.Millisecond}, func(w *world) {
			var all []string
			for i := range 25 {
				all = append(all, w.create().GetSandboxId())
				if i%3 == 0 {
					time.Sleep(time.Second)
				}
			}
			synctest.Wait()
			assert.ElementsMatch(t, all, w.walk(1, func(int) {}))
			assert.ElementsMatch(t, all, w.walk(5, func(int) {}), "no empty page at the end")

			passing := w.create().GetSandboxId()
			seen := w.walk(1, func(int) {
				w.delete(passing, 0)
				time.Sleep(time.Second)
				passing = w.create().GetSandboxId()
			})
			for _, id := range all {
				n := 0
				for _, s := range seen {
					if s == id {
						n++
					}
				}
				assert.Equal(t, 1, n)
			}
		})
	})
	t.Run("a page fits into a message", func(t *testing.T) {
		tokens, digest := newPageTokens(), []byte("a walk")
		var all []sized
		for i, size := range []int{maxPageBytes / 2, maxPageBytes / 2, maxPageBytes + 1, 1, maxPageBytes - 1, 2} {
			all = append(all, sized{position{create: time.Unix(int64(i), 0)}, size})
		}
		var pages [][]int
		for req := (&listRequest{}); ; {
			page, next, err := pageOf(tokens, digest, req, all, func(sized) bool { return true })
			require.NoError(t, err)
			var sizes []int
			for _, one := range page {
				sizes = append(sizes, one.size)
			}
			pages = append(pages, sizes)
			if req.PageToken = next; next == "" {
				break
			}
		}
		assert.Equal(t, [][]int{{2}, {maxPageBytes - 1, 1}, {maxPageBytes + 1}, {maxPageBytes / 2, maxPageBytes / 2}}, pages)

		inWorld(t, Options{}, func(w *world) {
			large := strings.Repeat("x", 1<<19)
			id := w.create(func(s *spec) { s.Annotations = map[string]string{"a": large} }).GetSandboxId()
			assert.Greater(t, w.srv.store.byID[id].bytes(), len(large))
			w.createTemplate(&template{DisplayName: "x", Spec: &partialSpec{Annotations: map[string]string{"a": large}}})
			assert.Greater(t, w.srv.templates.entries[0].bytes(), len(large))
		})
	})
	t.Run("C-050", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for range 1001 {
				w.create(tagged("a"))
			}
			resp, err := w.api.ListSandboxes(w.ctx, &listRequest{PageSize: 1})
			require.NoError(t, err)
			token := resp.GetNextPageToken()
			mangled := []byte(token)
			mangled[len(mangled)/2] ^= 1
			for _, req := range []*listRequest{
				{PageToken: string(mangled)}, {PageToken: "x"}, {PageToken: "?"},
				{PageToken: token, Tags: []string{"a"}}, {PageToken: token, ShowTerminated: true},
			} {
				_, err := w.api.ListSandboxes(w.ctx, req)
				w.requireRefused(badField("page_token"), err)
			}
			_, err = w.api.ListSandboxes(w.ctx, &listRequest{PageSize: -1})
			w.requireRefused(badField("page_size"), err)
			assert.Len(t, w.list(&listRequest{PageSize: 5000}), 1000)
			assert.Len(t, w.list(&listRequest{PageSize: 300, PageToken: token}), 300)
			assert.Len(t, w.list(&listRequest{}), 100)
		})
	})
}
