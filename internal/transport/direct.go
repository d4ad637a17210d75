package transport

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Mode says which way operations on the data of a sandbox go.
type Mode int

const (
	Auto    Mode = iota // directly where that can be had quickly, else by the gateway
	Direct              // directly, or not at all
	Gateway             // like everything else
)

// permissions are what the methods of the data plane need of a credential.
var permissions = map[string]sandboxv1.SandboxDataPermission{
	sandboxv1.SandboxDataPlaneService_Exec_FullMethodName:       sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_EXEC,
	sandboxv1.SandboxDataPlaneService_StreamExec_FullMethodName: sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_EXEC,
	sandboxv1.SandboxDataPlaneService_StreamLogs_FullMethodName: sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_LOGS,
	sandboxv1.SandboxDataPlaneService_WriteFile_FullMethodName:  sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_WRITE_FILE,
	sandboxv1.SandboxDataPlaneService_ReadFile_FullMethodName:   sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_READ_FILE,
}

// streams are the permissions for streams.
var streams = map[sandboxv1.SandboxDataPermission]bool{
	sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_EXEC: true,
	sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_LOGS: true,
}

// gatewayMethod is the method of the gateway that does the same.
func gatewayMethod(method string) string {
	return "/" + sandboxv1.SandboxService_ServiceDesc.ServiceName + method[strings.LastIndexByte(method, '/'):]
}

// Path is the way to the data of one sandbox: a grpc.ClientConnInterface for the stub of SandboxDataPlaneService. Which
// way a call takes, a direct connection or the gateway, is decided when it begins, and does not change once it has
// begun. It holds the credentials of its sandbox, in memory, and may be used concurrently.
type Path struct {
	d       *directory
	sandbox string

	// Guarded by the directory's mutex.
	mode    Mode
	cooling time.Time // until when nothing direct is tried
	epoch   int       // counts the calls of Drop
	grants  map[sandboxv1.SandboxDataPermission]*grant
}

var _ grpc.ClientConnInterface = (*Path)(nil)

// Path returns a new way to a sandbox, without any I/O.
func (t *Transport) Path(sandbox string, mode Mode) *Path {
	return &Path{d: t.direct, sandbox: sandbox, mode: mode, grants: make(map[sandboxv1.SandboxDataPermission]*grant)}
}

// SetMode changes the way of calls that have not begun.
func (p *Path) SetMode(m Mode) {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	p.mode = m
}

// Via stores in *direct which way a call has taken. It is valid when the call is over.
func Via(direct *bool) grpc.CallOption {
	return callOption{apply: func(s *settings) { s.via = direct }}
}

// took notes the way of a call.
func (s settings) took(direct bool) {
	if s.via != nil {
		*s.via = direct
	}
}

// Invoke makes a unary call. Its error is an *rpcerr.Error.
func (p *Path) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return p.d.t.invoke(ctx, gatewayMethod(method), args, reply, &directCall{path: p, method: method}, opts)
}

// NewStream opens a stream, as Transport.NewStream does.
func (p *Path) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if ctx.Err() != nil {
		return nil, rpcerr.Ended(ctx, method)
	}
	s := &pathStream{path: p, desc: desc, method: method, opts: opts, settings: p.d.t.settings(opts), caller: ctx}
	if err := s.open(); err != nil {
		return nil, err
	}
	return s, nil
}

// directCall is a unary call that may go directly.
type directCall struct {
	path   *Path
	method string
}

// attempt makes one attempt on a direct connection, unless the gateway is to make it. An attempt that nobody has begun
// to serve is made once more, by whatever way there is then.
func (d *directCall) attempt(c *call, caller, ctx context.Context) (direct bool, _ *rpcerr.Error) {
	for again := true; ; again = false {
		l, e := d.path.acquire(caller, ctx, d.method)
		c.settings.took(l != nil)
		switch {
		case e != nil:
			return true, e
		case l == nil:
			return false, nil
		}
		e = d.send(c, l, caller, ctx)
		l.release()
		if e == nil || !again || !unbegun(e) {
			return true, e
		}
	}
}

func (d *directCall) send(c *call, l *link, caller, ctx context.Context) *rpcerr.Error {
	c.peer.Addr, c.trailer = nil, nil
	err := l.conn.Invoke(anonymous(ctx), d.method, c.args, c.reply, c.opts...)
	if err == nil {
		return nil
	}
	e := l.translate(caller, d.method, err, c.trailer)
	e.Sent = c.peer.Addr != nil
	return e
}

// unbegun reports whether a direct call failed before anything was done for it: it was never sent, or the runner turned
// it away because it is about to go.
func unbegun(e *rpcerr.Error) bool {
	if e.Context != nil || e.Err != nil {
		return false
	}
	return retiring(e) || !e.Sent && rpcerr.Transient(e)
}

func retiring(e *rpcerr.Error) bool {
	return e.Trusted() && e.Reason == rpcerr.ReasonRunnerShardRetiring
}
