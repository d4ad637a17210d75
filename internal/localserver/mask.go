package localserver

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// masked returns base with the fields of a mask taken from update. No mask, an empty one and * take everything that
// callers may set. A path that does not exist, or that only the service sets, is refused.
func masked[M proto.Message](base, update M, mask *fieldmaskpb.FieldMask, settable ...string) (M, error) {
	merged := proto.CloneOf(base)
	paths := mask.GetPaths()
	if len(paths) == 0 || slices.Equal(paths, []string{"*"}) {
		paths = settable
	}
	for _, p := range paths {
		if _, err := fieldmaskpb.New(base, p); err != nil || !coversPath(settable, p) {
			return merged, bad("update_mask", "%q is no field that can be changed", p)
		}
		copyField(merged.ProtoReflect(), update.ProtoReflect(), strings.Split(p, "."))
	}
	return merged, nil
}

func coversPath(settable []string, path string) bool {
	return slices.ContainsFunc(settable, func(s string) bool { return path == s || strings.HasPrefix(path, s+".") })
}

// copyField sets a field of dst to what src has, which may be nothing.
func copyField(dst, src protoreflect.Message, path []string) {
	field := dst.Descriptor().Fields().ByName(protoreflect.Name(path[0]))
	switch {
	case len(path) == 1 && src.Has(field):
		dst.Set(field, proto.Clone(src.Interface()).ProtoReflect().Get(field))
	case len(path) == 1:
		dst.Clear(field)
	case src.Has(field) || dst.Has(field): // below a message that neither has there is nothing to clear
		copyField(dst.Mutable(field).Message(), src.Get(field).Message(), path[1:])
	}
}
