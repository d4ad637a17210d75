package localserver

import (
	"crypto/sha256"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A requestKey identifies a request that may be repeated. It lives as long as what the request has made.
type requestKey struct {
	user, organization string
	method             string
	requestID          string
}

// A creation is what makes repetitions of one request recognizable.
type creation struct {
	key     requestKey // zero: it cannot be repeated
	content [sha256.Size]byte
}

// newCreation looks at a request, whose content are all its fields, unknown ones included, but the request id.
func newCreation(who identity, method, requestID string, req proto.Message) (creation, error) {
	if requestID == "" {
		return creation{}, nil
	}
	content := proto.Clone(req).ProtoReflect()
	content.Clear(content.Descriptor().Fields().ByName("request_id"))
	data, err := proto.MarshalOptions{Deterministic: true}.Marshal(content.Interface())
	if err != nil {
		return creation{}, status.Errorf(codes.Internal, "read the request: %v", err)
	}
	return creation{requestKey{who.user, who.organization, method, requestID}, sha256.Sum256(data)}, nil
}

// replays hold what requests have made, for their repetitions. The zero value is ready for use.
type replays[T any] struct{ of map[requestKey]replay[T] }

type replay[T any] struct {
	content [sha256.Size]byte
	made    T
}

// find returns what a request has made, if this one repeats it. The key of another request is an error.
func (r *replays[T]) find(c creation) (made T, ok bool, err error) {
	first, ok := r.of[c.key]
	if ok && first.content != c.content {
		return made, false, bad("request_id", "was used for another request already")
	}
	return first.made, ok, nil
}

// add keeps what a request has made, if it can be repeated.
func (r *replays[T]) add(c creation, made T) {
	if c.key == (requestKey{}) {
		return
	}
	if r.of == nil {
		r.of = make(map[requestKey]replay[T])
	}
	r.of[c.key] = replay[T]{c.content, made}
}

func (r *replays[T]) remove(key requestKey) { delete(r.of, key) }
