package faults

import (
	"strings"
	"sync"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A method is one rpc of the sandbox API.
type method struct {
	name      string // without the service
	streaming bool
	response  protoreflect.MessageType
	request   protoreflect.MessageType
}

// methods holds the whole API by full method name, as gRPC writes it.
var methods = sync.OnceValue(func() map[string]*method {
	all := make(map[string]*method)
	pkg := sandboxv1.File_coreweave_sandbox_v1_sandbox_proto.Package()
	protoregistry.GlobalFiles.RangeFilesByPackage(pkg, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			addService(all, file.Services().Get(i))
		}
		return true
	})
	return all
})

func addService(all map[string]*method, service protoreflect.ServiceDescriptor) {
	for i := range service.Methods().Len() {
		d := service.Methods().Get(i)
		full := "/" + string(service.FullName()) + "/" + string(d.Name())
		all[full] = &method{
			name:      string(d.Name()),
			streaming: d.IsStreamingClient() || d.IsStreamingServer(),
			request:   messageType(d.Input()),
			response:  messageType(d.Output()),
		}
	}
}

// messageType finds the Go type of a message. The generated code registers every type of the API before it is used.
func messageType(d protoreflect.MessageDescriptor) protoreflect.MessageType {
	t, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic("faults: " + err.Error())
	}
	return t
}

// lookup returns nil for a method that is not part of the API.
func lookup(full string) *method {
	return methods()[full]
}

// find returns the methods with a short name, in several services perhaps, or all of them for "*".
func find(name string) []*method {
	var found []*method
	for full, m := range methods() {
		if name == "*" || strings.HasSuffix(full, "/"+name) {
			found = append(found, m)
		}
	}
	return found
}
