package localserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

// GetSandbox returns the sandbox as it is now, also after its end while it is kept.
func (s *sandboxService) GetSandbox(ctx context.Context, req *sandboxv1.GetSandboxRequest) (*sandboxv1.Sandbox, error) {
	if req.GetSandboxId() == "" {
		return nil, bad("sandbox_id", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	r := s.store.find(req.GetSandboxId(), callerOf(ctx))
	if r == nil {
		return nil, gone(req.GetSandboxId())
	}
	return r.message(s.now()), nil
}

// ListSandboxes returns a page of the caller's own sandboxes, newest first.
func (s *sandboxService) ListSandboxes(ctx context.Context, req *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
	if req.GetPageSize() < 0 {
		return nil, bad("page_size", "must not be negative")
	}
	size := min(orDefault(int(req.GetPageSize()), defaultPageSize), maxPageSize)
	filter := newListFilter(callerOf(ctx), req)

	s.store.Lock()
	defer s.store.Unlock()
	now := s.now()
	s.store.sweep(now)
	next := len(s.store.ordered) - 1
	if req.GetPageToken() != "" {
		last, ok := s.tokens.read(req.GetPageToken(), filter.digest)
		if !ok {
			return nil, bad("page_token", "must be the token of a page of the same list")
		}
		i, _ := s.store.index(last)
		next = i - 1
	}
	resp := &sandboxv1.ListSandboxesResponse{}
	var last position
	for ; next >= 0; next-- {
		r := s.store.ordered[next]
		if !filter.matches(r, now) {
			continue
		}
		if len(resp.Sandboxes) == size {
			resp.NextPageToken = s.tokens.write(last, filter.digest)
			break
		}
		resp.Sandboxes = append(resp.Sandboxes, r.message(now))
		last = r.position()
	}
	return resp, nil
}

// A listFilter is what a list selects.
type listFilter struct {
	who    identity
	req    *sandboxv1.ListSandboxesRequest
	digest []byte // of caller and filters, the same for every page of a walk
}

func newListFilter(who identity, req *sandboxv1.ListSandboxesRequest) listFilter {
	filters := proto.CloneOf(req)
	filters.PageSize, filters.PageToken = 0, ""
	data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(filters) // has been on the wire, so it can be marshaled
	sum := sha256.Sum256(fmt.Appendf(data, "\x00%q %q", who.user, who.organization))
	return listFilter{who: who, req: req, digest: sum[:]}
}

// matches reports whether a record belongs to the list. The store's mutex is held.
func (f listFilter) matches(r *record, now time.Time) bool {
	if r.owner.user != f.who.user || !r.visibleTo(f.who, now) {
		return false
	}
	if want := f.req.GetState(); want != sandboxv1.State_STATE_UNSPECIFIED {
		if r.state != want {
			return false
		}
	} else if terminal(r.state) && !f.req.GetShowTerminated() {
		return false
	}
	if !r.hasTags(f.req.GetTags()) {
		return false
	}
	if ids := f.req.GetRunnerIds(); len(ids) > 0 && !slices.Contains(ids, runnerID) {
		return false
	}
	return len(f.req.GetVolumeIds()) == 0 // no sandbox here has registered volumes
}

// pageTokens writes and reads page tokens. A token holds the last position of a page, and a sum that binds it to the
// filters and to this server.
type pageTokens struct{ secret []byte }

const tokenSum = 16

func newPageTokens() pageTokens { return pageTokens{[]byte(rand.Text())} }

func (t pageTokens) sum(key, digest []byte) []byte {
	sum := sha256.Sum256(slices.Concat(t.secret, digest, key))
	return sum[:tokenSum]
}

func (t pageTokens) write(p position, digest []byte) string {
	key := binary.BigEndian.AppendUint64(nil, uint64(p.create.UnixNano()))
	key = append(key, p.id...)
	return base64.RawURLEncoding.EncodeToString(append(t.sum(key, digest), key...))
}

func (t pageTokens) read(token string, digest []byte) (position, bool) {
	data, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(data) < tokenSum+8 {
		return position{}, false
	}
	sum, key := data[:tokenSum], data[tokenSum:]
	if string(sum) != string(t.sum(key, digest)) {
		return position{}, false
	}
	nanos := int64(binary.BigEndian.Uint64(key))
	return position{create: time.Unix(0, nanos), id: string(key[8:])}, true
}
