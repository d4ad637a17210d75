package transport

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	// Registers the codec that frozen is built on.
	protocodec "google.golang.org/grpc/encoding/proto"
)

// frozen is the codec of one call. Every attempt sends the bytes that were made once: Go shuffles map entries from one
// encoding to the next, and a service may refuse a request id that comes back with another request.
type frozen struct {
	encoding.CodecV2
	wire []byte
}

func freeze(request proto.Message) (frozen, error) {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	return frozen{CodecV2: encoding.GetCodecV2(protocodec.Name), wire: wire}, err
}

// Marshal returns the frozen bytes, whatever the message.
func (f frozen) Marshal(any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(f.wire)}, nil
}
