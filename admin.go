package cwsandbox

import (
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// wrapAbout is wrap for an operation on something that is no sandbox; the error names it, as not every answer does.
func (c call) wrapAbout(id string, err error) error {
	err = c.wrap(err)
	if e, ok := err.(*Error); ok {
		e.text = strconv.Quote(id) + ": " + e.text
	}
	return err
}

// checkedMask makes a mask of the fields of m that an update names: those that it can change, and what lies below them. None
// is no mask.
func checkedMask(f *faults, m proto.Message, changeable, fields []string) *fieldmaskpb.FieldMask {
	for i, field := range fields {
		below := func(name string) bool { return field == name || strings.HasPrefix(field, name+".") }
		_, err := fieldmaskpb.New(m, field)
		switch {
		case err != nil || !slices.ContainsFunc(changeable, below):
			f.add("update_mask", "must be of %s, has %q", strings.Join(changeable, ", "), field)
		case slices.Contains(fields[:i], field):
			f.add("update_mask", "must not repeat %q", field)
		}
	}
	if len(fields) == 0 {
		return nil
	}
	return &fieldmaskpb.FieldMask{Paths: slices.Clone(fields)}
}
