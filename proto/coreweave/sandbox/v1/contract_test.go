package sandboxv1_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	// Registers the generated files.
	_ "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const contractPackage = "coreweave.sandbox.v1"

// The published contract, compiled without comments, is kept in testdata. Whatever is edited in the
// .proto files, the wire must stay as it is there: every service, message, field, enum, number, type,
// label, oneof and reservation, with nothing missing and nothing added.
func TestContractIsThePublishedOne(t *testing.T) {
	published := publishedFiles(t)
	generated := generatedFiles()
	require.NotEmpty(t, published)

	for path, want := range published {
		t.Run(path, func(t *testing.T) {
			require.Contains(t, generated, path, "a file of the contract is missing")
			assert.Equal(t, prototext.Format(want), prototext.Format(generated[path]))
		})
	}
	for path := range generated {
		assert.Contains(t, published, path, "the contract has no such file")
	}
}

// publishedFiles returns the files of the published contract by path.
func publishedFiles(t *testing.T) map[string]*descriptorpb.FileDescriptorProto {
	t.Helper()
	raw, err := os.ReadFile("testdata/contract.binpb")
	require.NoError(t, err)
	var set descriptorpb.FileDescriptorSet
	require.NoError(t, proto.Unmarshal(raw, &set))

	files := make(map[string]*descriptorpb.FileDescriptorProto)
	for _, fd := range set.GetFile() {
		if fd.GetPackage() == contractPackage {
			files[fd.GetName()] = wireOnly(fd)
		}
	}
	return files
}

// generatedFiles returns the files that the generated code registers, by path.
func generatedFiles() map[string]*descriptorpb.FileDescriptorProto {
	files := make(map[string]*descriptorpb.FileDescriptorProto)
	protoregistry.GlobalFiles.RangeFilesByPackage(contractPackage, func(fd protoreflect.FileDescriptor) bool {
		files[fd.Path()] = wireOnly(protodesc.ToFileDescriptorProto(fd))
		return true
	})
	return files
}

// wireOnly returns a copy without what is our own: the Go package and the comments.
func wireOnly(fd *descriptorpb.FileDescriptorProto) *descriptorpb.FileDescriptorProto {
	fd = proto.CloneOf(fd)
	fd.SourceCodeInfo = nil
	if fd.Options != nil {
		fd.Options.GoPackage = nil
		if proto.Size(fd.Options) == 0 {
			fd.Options = nil
		}
	}
	return fd
}
