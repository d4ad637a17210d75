#!/usr/bin/env bash
# Regenerates the Go code beside the .proto files. Needs only Go: the generators are built, in these versions,
# from the Go module proxy.
set -euo pipefail
cd "$(dirname "$0")"
bin=${PROTO_BIN:-$(mktemp -d)}
[ -n "${PROTO_BIN:-}" ] || trap 'rm -rf "$bin"' EXIT
export GOBIN=$bin PATH=$bin:$PATH
[ -x "$bin/buf" ] || go install github.com/bufbuild/buf/cmd/buf@v1.75.0
[ -x "$bin/protoc-gen-go" ] || go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
[ -x "$bin/protoc-gen-go-grpc" ] || go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
buf generate
