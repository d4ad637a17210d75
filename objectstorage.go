package cwsandbox

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const maxObjectPrefix = 512

// ObjectStorage gives every container of a sandbox short-lived credentials for buckets. The organization must have set up
// identity federation and allowed the buckets. The zero value is none.
type ObjectStorage struct {
	Buckets    []string
	Permission ObjectStoragePermission // required
	Prefix     string                  // only objects whose keys begin with it, such as "runs/42/"; empty: all
}

// ObjectStoragePermission is what may be done with objects. The numbers are the service's own; one that this version does
// not know keeps its number.
type ObjectStoragePermission int32

// The permissions for object storage.
const (
	ObjectStorageUnspecified = ObjectStoragePermission(sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_UNSPECIFIED)
	ObjectStorageRead        = ObjectStoragePermission(sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ)
	ObjectStorageReadWrite   = ObjectStoragePermission(sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ_WRITE)
)

// String returns the permission's name, or ObjectStoragePermission(42) for a number that this version does not know.
func (p ObjectStoragePermission) String() string {
	switch p {
	case ObjectStorageUnspecified:
		return "unspecified"
	case ObjectStorageRead:
		return "read"
	case ObjectStorageReadWrite:
		return "read-write"
	}
	return fmt.Sprintf("ObjectStoragePermission(%d)", int32(p))
}

var objectPrefixPattern = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]*/$`)

func (o ObjectStorage) none() bool {
	return len(o.Buckets) == 0 && o.Permission == ObjectStorageUnspecified && o.Prefix == ""
}

func (o ObjectStorage) check(f *faults, field string) {
	if o.none() {
		return
	}
	if len(o.Buckets) == 0 {
		f.add(field+".buckets", "must not be empty")
	}
	checkIDs(f, field+".buckets", o.Buckets)
	if o.Permission != ObjectStorageRead && o.Permission != ObjectStorageReadWrite {
		f.add(field+".permission", "must be read or read-write, is %v", o.Permission)
	}
	if o.Prefix != "" && (len(o.Prefix) > maxObjectPrefix || !objectPrefixPattern.MatchString(o.Prefix) ||
		strings.Contains(o.Prefix, "..") || strings.Contains(o.Prefix, "//")) {
		f.add(field+".object_prefix", "must be at most %d letters, digits, dots, dashes, underscores and slashes, begin with a letter "+
			"or digit, end with a slash and have no .. or //, is %q", maxObjectPrefix, o.Prefix)
	}
}

// message is nil for none.
func (o ObjectStorage) message() *sandboxv1.ObjectStorageAccess {
	if o.none() {
		return nil
	}
	return &sandboxv1.ObjectStorageAccess{
		Buckets:      o.Buckets,
		Permission:   sandboxv1.ObjectStoragePermission(o.Permission),
		ObjectPrefix: o.Prefix,
	}
}

func (o ObjectStorage) clone() ObjectStorage {
	o.Buckets = slices.Clone(o.Buckets)
	return o
}
