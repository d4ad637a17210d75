package localserver

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The operations, as error metadata names them.
const (
	opRead  = "read"
	opWrite = "write"
)

// ReadFile returns the whole content of a file.
func (s *sandboxService) ReadFile(ctx context.Context, req *sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
	resp := &sandboxv1.ReadFileResponse{}
	err := s.fileOperation(ctx, opRead, req, func(ctx context.Context, _ *containerRecord, run container.Container) (err error) {
		resp.Content, err = run.ReadFile(ctx, req.GetPath(), s.opt.MaxFileBytes)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// WriteFile creates or overwrites a file. Writes to one path follow one another.
func (s *sandboxService) WriteFile(ctx context.Context, req *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
	err := s.fileOperation(ctx, opWrite, req, func(ctx context.Context, c *containerRecord, run container.Container) error {
		if size := int64(len(req.GetContent())); size > s.opt.MaxFileBytes {
			return &container.FileError{Kind: container.FileTooLarge, Size: size, Text: "too large"}
		}
		unlock, ok := c.files.lock(ctx, req.GetPath())
		if !ok {
			return ctx.Err()
		}
		defer unlock()
		return run.WriteFile(ctx, req.GetPath(), req.GetContent(), s.opt.StrictParents)
	})
	if err != nil {
		return nil, err
	}
	return &sandboxv1.WriteFileResponse{}, nil
}

// A fileRequest says which file an operation is for.
type fileRequest interface {
	GetSandboxId() string
	GetContainer() string
	GetPath() string
}

// fileOperation checks a request, finds the container, runs the operation in it, and translates the error.
func (s *Server) fileOperation(
	ctx context.Context, operation string, req fileRequest,
	run func(context.Context, *containerRecord, container.Container) error,
) error {
	if err := checkFile(req); err != nil {
		return err
	}
	ctx, cancel := s.bind(ctx)
	defer cancel(nil)
	c, present, err := s.target(ctx, req.GetSandboxId(), req.GetContainer())
	if err != nil {
		return err
	}
	err = errDirectory
	if !strings.HasSuffix(req.GetPath(), "/") { // what ends so can only mean a directory
		err = run(ctx, c, present)
	}
	var fault *container.FileError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &fault):
		return s.fileFault(operation, req.GetPath(), fault)
	case ctx.Err() != nil:
		return endOf(ctx)
	}
	return s.runFault(ctx, req.GetSandboxId(), req.GetContainer(), present, err)
}

func checkFile(req fileRequest) error {
	var c checker
	c.require(req.GetSandboxId() != "", "sandbox_id", "must not be empty")
	c.require(req.GetPath() != "" && !hasNUL(req.GetPath()), "path", "must not be empty or contain NUL")
	return c.err()
}

var errDirectory error = &container.FileError{Kind: container.FileIsDirectory, Text: "is a directory"}

// fileFault translates a refusal of the runtime.
func (s *Server) fileFault(operation, path string, fault *container.FileError) error {
	r := refusal{
		code:     codes.Internal,
		reason:   fileReason(fault.Kind),
		text:     fmt.Sprintf("%s %s: %s", operation, path, fault.Text),
		metadata: map[string]string{"filepath": path, "operation": operation},
	}
	if fault.Kind == container.FileTooLarge {
		r.code = codes.FailedPrecondition
		r.text = fmt.Sprintf("%s: the file is larger than max-file-operation-bytes (%d)", operation, s.opt.MaxFileBytes)
		r.metadata["max_size_bytes"] = strconv.FormatInt(s.opt.MaxFileBytes, 10)
		if fault.Size >= 0 {
			r.metadata["size_bytes"] = strconv.FormatInt(fault.Size, 10)
		}
	}
	return r.err()
}

func fileReason(kind container.FileErrorKind) string {
	switch kind {
	case container.FileNotFound:
		return reasonFileNotFound
	case container.FileIsDirectory:
		return reasonFileIsDirectory
	case container.FilePermission:
		return reasonFilePermission
	case container.FileTooLarge:
		return reasonFileTooLarge
	}
	return reasonFileIO
}
