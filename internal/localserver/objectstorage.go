package localserver

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var objectPrefix = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]*/$`)

const objectStorageField = "spec.object_storage_access"

// objectStorage checks the wish for object storage as far as the request alone decides.
func (c *checker) objectStorage(o *sandboxv1.ObjectStorageAccess) {
	if o == nil {
		return
	}
	c.require(len(o.GetBuckets()) > 0, objectStorageField+".buckets", "must not be empty")
	p := o.GetObjectPrefix()
	ok := len(p) <= 512 && objectPrefix.MatchString(p) && !strings.Contains(p, "..") && !strings.Contains(p, "//")
	c.require(p == "" || ok, objectStorageField+".object_prefix",
		"must begin with a letter or digit, end with a slash and have no dot segments")
}

// objectStorageEnv is what object storage puts into the environment of every container, as far as the organization allows
// it. Nothing here mints credentials: they are those that the server was started with.
func (s *Server) objectStorageEnv(o *sandboxv1.ObjectStorageAccess, who identity) (map[string]string, error) {
	if o == nil {
		return nil, nil
	}
	federation := s.federation(who.organization)
	if !federation.GetEnabled() {
		return nil, refusal{
			code:   codes.FailedPrecondition,
			reason: reasonInvalidRequest,
			text:   "object storage is not set up for the organization",
		}.err()
	}
	var c checker
	for i, bucket := range o.GetBuckets() {
		c.require(slices.Contains(federation.GetAllowedBuckets(), bucket), fmt.Sprintf("%s.buckets[%d]", objectStorageField, i),
			"is not among those that the organization allows")
	}
	c.require(o.GetPermission() <= federation.GetMaxPermission(), objectStorageField+".permission",
		"is more than the organization allows")
	return s.opt.ObjectStorageEnv, c.err()
}
