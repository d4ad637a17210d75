package transport

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// target needs no resolver: the dialer ignores it.
const target = "127.0.0.1:1"

// seen is one call as the server saw it.
type seen struct {
	grpc.ServerStream
	method  string
	n       int // 1 is the first call
	at      time.Time
	timeout time.Duration // zero: no deadline
	header  metadata.MD
	request []byte
}

// server is a gRPC server whose answers are a function. It speaks raw bytes, so that tests can compare requests.
type server struct {
	listener *countingListener
	grpc     *grpc.Server
	answer   func(*seen) (proto.Message, error)

	mu    sync.Mutex
	calls []*seen
}

// empty answers with a message without content, which is valid for every method.
func empty(*seen) (proto.Message, error) { return &errdetails.RetryInfo{}, nil }

// fail answers every call with err.
func fail(err error) func(*seen) (proto.Message, error) {
	return func(*seen) (proto.Message, error) { return nil, err }
}

// script answers the nth call with the nth error, and later calls with success.
func script(errs ...error) func(*seen) (proto.Message, error) {
	return func(s *seen) (proto.Message, error) {
		if s.n <= len(errs) && errs[s.n-1] != nil {
			return nil, errs[s.n-1]
		}
		return empty(s)
	}
}

// failure is a status with the details of the service.
func failure(code codes.Code, details ...protoadapt.MessageV1) error {
	st, err := status.New(code, "scripted").WithDetails(details...)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

func because(reason string) protoadapt.MessageV1 {
	return &errdetails.ErrorInfo{Reason: reason, Domain: rpcerr.Domain}
}

func retryAfter(d time.Duration) protoadapt.MessageV1 {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

func serve(t testing.TB, answer func(*seen) (proto.Message, error), opts ...grpc.ServerOption) *server {
	s := &server{listener: &countingListener{Listener: bufconn.Listen(1 << 20)}, answer: answer}
	opts = append(opts, grpc.ForceServerCodecV2(raw{}), grpc.UnknownServiceHandler(s.handle), grpc.MaxRecvMsgSize(200<<20), grpc.MaxSendMsgSize(200<<20))
	s.grpc = grpc.NewServer(opts...)
	go s.grpc.Serve(s.listener)
	t.Cleanup(s.grpc.Stop)
	return s
}

func (s *server) handle(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	call := &seen{ServerStream: stream, method: method, at: time.Now()}
	call.header, _ = metadata.FromIncomingContext(stream.Context())
	if deadline, ok := stream.Context().Deadline(); ok {
		call.timeout = time.Until(deadline)
	}
	if err := stream.RecvMsg(&call.request); err != nil {
		return err
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	call.n = len(s.calls)
	s.mu.Unlock()
	reply, err := s.answer(call)
	if err != nil || reply == nil {
		return err
	}
	return stream.SendMsg(reply)
}

// seen returns the calls so far.
func (s *server) seen() []*seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*seen(nil), s.calls...)
}

// config is a configuration that reaches the server; change may be nil.
func (s *server) config(change func(*Config)) Config {
	c := Config{
		Base:           Endpoint{Target: target, Plaintext: true},
		Credentials:    bearer("k"),
		Version:        "v1.2.3",
		DialOptions:    []grpc.DialOption{grpc.WithContextDialer(s.dial)},
		RequestTimeout: 300 * time.Second,
		RetryBudget:    30 * time.Second,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func (s *server) dial(ctx context.Context, _ string) (net.Conn, error) {
	return s.listener.DialContext(ctx)
}

// transport is a client of the server, closed with the test.
func (s *server) transport(t testing.TB, change func(*Config)) *Transport {
	t.Helper()
	return open(t, s.config(change))
}

func open(t testing.TB, c Config) *Transport {
	t.Helper()
	tr, err := New(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, tr.Close()) })
	return tr
}

func bearer(key string) func(context.Context) (map[string]string, error) {
	return func(context.Context) (map[string]string, error) {
		return map[string]string{"authorization": "Bearer " + key}, nil
	}
}

// countingListener counts the connections that were made.
type countingListener struct {
	*bufconn.Listener
	conns atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.conns.Add(1)
	}
	return c, err
}

// raw is a codec that leaves requests as they are.
type raw struct{}

func (raw) Name() string { return "proto" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	wire, err := proto.Marshal(v.(proto.Message))
	return mem.BufferSlice{mem.SliceBuffer(wire)}, err
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
