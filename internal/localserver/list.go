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
	"google.golang.org/protobuf/reflect/protoreflect"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	defaultPageSize = 100
	maxPageSize     = 1000
	// maxPageBytes bounds what a page repeats of what clients have sent, so that it fits into a message.
	maxPageBytes = 64 << 20
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
	filter := listFilter{callerOf(ctx), req}
	s.store.Lock()
	defer s.store.Unlock()
	now := s.now()
	s.store.sweep(now)
	page, next, err := pageOf(s.tokens, listDigest(filter.who, req), req, s.store.ordered, func(r *record) bool {
		return filter.matches(r, now)
	})
	if err != nil {
		return nil, err
	}
	resp := &sandboxv1.ListSandboxesResponse{NextPageToken: next}
	for _, r := range page {
		resp.Sandboxes = append(resp.Sandboxes, r.message(now))
	}
	return resp, nil
}

// A listFilter is what a list selects.
type listFilter struct {
	who identity
	req *sandboxv1.ListSandboxesRequest
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
	wanted := f.req.GetVolumeIds()
	return len(wanted) == 0 || slices.ContainsFunc(volumeIDs(r.spec), func(id string) bool { return slices.Contains(wanted, id) })
}

// A pageRequest is the request for one page of a list.
type pageRequest interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// A listed thing has a place in its list, and takes so many bytes of a page, about.
type listed interface {
	position() position
	bytes() int
}

// pageOf returns a page of those that match, newest first, and the token of the next one. All of them are in the order of
// their positions. Digest is that of the walk. A page holds fewer than were asked for when these are too large together.
func pageOf[T listed](
	tokens pageTokens, digest []byte, req pageRequest, all []T, matches func(T) bool,
) (page []T, next string, err error) {
	if req.GetPageSize() < 0 {
		return nil, "", bad("page_size", "must not be negative")
	}
	size := min(orDefault(int(req.GetPageSize()), defaultPageSize), maxPageSize)
	if token := req.GetPageToken(); token != "" {
		last, ok := tokens.read(token, digest)
		if !ok {
			return nil, "", bad("page_token", "must be the token of a page of the same list")
		}
		i, _ := indexOf(all, last)
		all = all[:i]
	}
	sum := 0
	for _, one := range slices.Backward(all) {
		if !matches(one) {
			continue
		}
		sum += one.bytes()
		if len(page) == size || sum > maxPageBytes && len(page) > 0 {
			return page, tokens.write(page[len(page)-1].position(), digest), nil
		}
		page = append(page, one)
	}
	return page, "", nil
}

// indexOf is where a position is, or belongs, in an order of positions.
func indexOf[T listed](all []T, p position) (int, bool) {
	return slices.BinarySearchFunc(all, p, func(one T, p position) int { return one.position().compare(p) })
}

// listDigest is the same for every page of a walk, and differs between callers, lists and filters.
func listDigest(who identity, req pageRequest) []byte {
	filters := proto.Clone(req).ProtoReflect()
	for _, name := range []protoreflect.Name{"page_size", "page_token"} {
		filters.Clear(filters.Descriptor().Fields().ByName(name))
	}
	data, _ := proto.MarshalOptions{Deterministic: true}.Marshal(filters.Interface()) // has been on the wire
	sum := sha256.Sum256(fmt.Appendf(data, "\x00%q %q %s", who.user, who.organization, filters.Descriptor().Name()))
	return sum[:]
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
