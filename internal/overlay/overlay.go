// Package overlay copies between messages that have the same fields and different types: specs of sandboxes and those of
// templates and their overrides.
package overlay

import (
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Put replaces each field of to that from has: messages, lists and maps as a whole. Fields go by their numbers, and
// to has all that from has. Unknown ones are added. The messages share what they hold afterwards.
func Put(to, from proto.Message) { put(to.ProtoReflect(), from.ProtoReflect()) }

func put(to, from protoreflect.Message) {
	fields := to.Descriptor().Fields()
	from.Range(func(source protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		field := fields.ByNumber(source.Number())
		if !source.IsList() || source.Message() == field.Message() {
			to.Set(field, v)
			return true
		}
		to.Clear(field)
		list := to.Mutable(field).List()
		for i := range v.List().Len() {
			put(list.AppendMutable().Message(), v.List().Get(i).Message())
		}
		return true
	})
	to.SetUnknown(append(to.GetUnknown(), from.GetUnknown()...))
}
