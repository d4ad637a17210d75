#!/usr/bin/env bash
# Lints the .proto files and regenerates the Go code beside them. With --check nothing is changed: it
# fails, and shows the difference, when the code is not what the .proto files generate.
#
# Needs only Go. The generators are built from the Go module proxy in the versions below and kept in
# the user's cache under those versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

buf=github.com/bufbuild/buf/cmd/buf@v1.75.0
protoc_gen_go=google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
protoc_gen_go_grpc=google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2

case "$#:${1:-}" in
0:) check=false ;;
1:--check) check=true ;;
*)
	echo "usage: proto/generate.sh [--check]" >&2
	exit 2
	;;
esac

cache=${XDG_CACHE_HOME:-$HOME/.cache}/cwsandbox-go/generators
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# generator puts a generator first in PATH and builds it where the cache has none of that version.
# It is built for this machine, whatever the environment cross-compiles for, and moved into place
# whole, so that an interrupted build leaves nothing behind that looks complete.
generator() {
	local dir=$cache/${1##*/}
	local bin=$dir/${1##*/}
	bin=${bin%@*}
	if [ ! -x "$bin" ]; then
		echo "building $1"
		env -u GOOS -u GOARCH GOFLAGS= CGO_ENABLED=0 GOBIN="$tmp/bin" go install "$1"
		mkdir -p "$dir"
		mv "$tmp/bin/${bin##*/}" "$bin"
	fi
	PATH=$dir:$PATH
}

generator "$buf"
generator "$protoc_gen_go"
generator "$protoc_gen_go_grpc"

buf lint
buf generate --output "$tmp/out"

if $check; then
	# What the tree would become: all that is written by hand, and what was generated now.
	cp -R coreweave "$tmp/want"
	find "$tmp/want" -name '*.pb.go' -delete
	cp -R "$tmp/out/coreweave/." "$tmp/want"
	diff -ru coreweave "$tmp/want" || {
		echo "the generated code is not up to date: run proto/generate.sh" >&2
		exit 1
	}
	exit 0
fi

cp -R "$tmp/out/." .
find coreweave -name '*.pb.go' | while read -r file; do
	[ -e "$tmp/out/$file" ] || rm "$file"
done
