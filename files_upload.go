package cwsandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
)

// discardLimit bounds the removal of what an upload that was cut has left behind.
const discardLimit = 5 * time.Second

// The scripts of an upload begin alike and find the same temporary file. Their parameters: the path; the directory to
// make, or nothing; the temporary file's name, or nothing; the number of bytes, or nothing; the mode, or nothing; of the
// bytes, the whole blocks and the rest.
//
// What is there and is no regular file cannot be replaced, so it is written in place; links are followed to the end.
const uploadBegin = `t=$1 mode=$5 own=
[ ! -d "$t" ] || exit 65
[ -z "$2" ] || mkdir -p -- "$2" || exit 1
if [ -L "$t" ]; then
	t=$(readlink -n -f -- "$t" && echo .) || exit 1
	t=${t%.}
fi
d=${t%/*}/
[ -d "$d" ] || { stat -L -- "$d" >/dev/null; exit 1; }
f=$t
if [ -e "$t" ]; then
	[ -w "$t" ] || exit 66
	if [ -n "$3" ] && [ -f "$t" ]; then
		f=$d$3
		own=$(stat -c '%u:%g %a' -- "$t") || exit 1
		mode=${mode:-${own#* }} own=${own% *}
	fi
else
	[ -w "$d" ] || exit 66
	[ -z "$3" ] || f=$d$3
fi
`

// The temporary file stays when a second command is to look at it. Counting spares the transfer from the end of the input,
// which is not delivered reliably. The head of some images reads byte by byte, so that blocks go through dd where it can.
const uploadReceive = `if [ "$f" != "$t" ]; then
	trap 'rm -f -- "$f"' EXIT
	trap 'exit 1' HUP INT TERM
fi
[ -z "$mode" ] || umask 077
case $4 in
'') cat >"$f" || exit 1; trap - EXIT; exit 0 ;;
0) : >"$f" || exit 1 ;;
*)
	if [ "$6" -gt 0 ] && dd bs=65536 count=0 iflag=fullblock status=none </dev/null >/dev/null 2>&1; then
		{ dd bs=65536 count="$6" iflag=fullblock status=none && { [ "$7" = 0 ] || head -c "$7"; }; } >"$f" || exit 1
	else
		head -c "$4" >"$f" || exit 1
	fi ;;
esac
`

// A process that is no longer the owner's may not give the file away: then it belongs to whoever has written it.
const uploadCommit = `[ "$f" = "$t" ] || trap 'rm -f -- "$f"' EXIT
[ -e "$f" ] || exit 67
s=$(stat -c '%s %u:%g' -- "$f") || exit 1
[ ! -f "$f" ] || [ "${s% *}" = "$4" ] || exit 67
[ -z "$own" ] || [ "${s#* }" = "$own" ] || chown "$own" "$f" 2>/dev/null || :
[ -z "$mode" ] || chmod "$mode" "$f" || exit 1
[ "$f" = "$t" ] || mv -f -- "$f" "$t" || exit 1
trap - EXIT
`

const uploadTools = "cat chmod head mkdir mv readlink rm stat"

var (
	uploadWhole   = fileScript{"upload", uploadTools, uploadBegin + uploadReceive + uploadCommit}
	uploadStart   = fileScript{"upload", uploadTools, uploadBegin + uploadReceive}
	uploadFinish  = fileScript{"upload-finish", uploadTools, uploadBegin + uploadCommit}
	uploadDiscard = fileScript{"upload-discard", uploadTools, uploadBegin + `[ "$f" = "$t" ] || rm -f -- "$f"` + "\n"}
)

// Upload copies everything that r has to a file in the sandbox, of any size, and returns how many bytes it took from r.
// In a sandbox that is still starting it waits until files can be written. Use an absolute path, in a directory that
// exists: [WithParents] makes it. Memory does not grow with the file.
//
// The content goes to a temporary file beside the destination, is counted there, and takes its place in one step, so that
// nobody ever sees a part of it, and a transfer that fails leaves what was there. A file that is replaced keeps its
// permissions, and its owner where the container's user may set it; links are followed. [WithInPlace] writes into the file
// itself instead; so does Upload for what is no regular file, such as a device.
//
// The context is the life of the transfer; without a deadline there is no limit. Upload returns only when a Read of r that
// is in progress has returned. A transfer is never begun again: after an error the file is as it was, or complete if only
// the good news was lost. When the stream was cut, up to five seconds more are spent on removing the temporary file.
//
// It takes a few common tools of the image, and its /bin/sh; without them the error lists what is missing and matches
// [errors.ErrUnsupported]. The other errors are those of [Sandbox.ReadFile] and of r.
func (sb *Sandbox) Upload(ctx context.Context, path string, r io.Reader, opts ...FileOption) (int64, error) {
	c := call{op: "upload", sandbox: sb.s.id, path: path}
	cfg, _ := newFileConfig(c, opts, useParents|usePerm|useInPlace|useLength|useProgress) // reported below
	if r == nil {
		cfg.faults.add("reader", "must not be nil")
	}
	if err := cfg.faults.err(c); err != nil {
		return 0, err
	}
	return sb.s.upload(ctx, c, cfg, r)
}

func (s *shared) upload(ctx context.Context, c call, file *fileConfig, r io.Reader) (int64, error) {
	if strings.HasSuffix(file.path, "/") {
		return 0, c.refuse("a path that ends in a slash is a directory", ErrIsDirectory)
	}
	src := &source{r: r, file: file, left: -1}
	if n, ok := file.lengthOf(r); ok {
		src.left = n
	}
	temporary := ""
	if !file.inPlace {
		temporary = ".cwsandbox-" + rand.Text()
	}
	u := &uploading{s: s, call: c, file: file, temporary: temporary}
	err := u.run(ctx, src)
	return src.n, err
}

// uploading is one upload.
type uploading struct {
	s         *shared
	call      call
	file      *fileConfig
	temporary string // empty: none
}

func (u *uploading) run(ctx context.Context, src *source) error {
	counted := src.left >= 0
	script := uploadStart
	if counted {
		script = uploadWhole
	}
	res, err := u.s.feed(ctx, u.call, script.command(u.file, u.words(src.left)...), src)
	if !counted && inputGraceExpired(err) { // all was sent: whether it has arrived is looked at now
		err = nil
	} else if err == nil {
		if err := u.call.scriptError(res); err != nil {
			return err // the script has tidied up
		}
	}
	if err == nil && !counted {
		_, err = u.s.runScript(ctx, u.call, uploadFinish, u.file, u.words(src.n)...)
	}
	if err != nil && src.begun {
		u.discard(ctx)
	}
	return err
}

// words are the parameters of the scripts. A count below zero is none.
func (u *uploading) words(count int64) []string {
	const block = 64 << 10
	target, parents, bytes := u.file.shellPath(), "", ""
	if count >= 0 {
		bytes = strconv.FormatInt(count, 10)
	}
	if u.file.parents {
		parents = path.Dir(target)
	}
	return []string{
		target, parents, u.temporary, bytes, u.file.octalPerm(),
		strconv.FormatInt(count/block, 10), strconv.FormatInt(count%block, 10),
	}
}

// discard removes the temporary file, whatever has become of the context. That it cannot be removed is no news: the
// upload has failed, and its error says so.
func (u *uploading) discard(ctx context.Context) {
	if u.temporary == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardLimit)
	defer cancel()
	words := u.words(-1)
	words[1] = ""
	_, _ = u.s.runScript(ctx, u.call, uploadDiscard, u.file, words...)
}

// inputGraceExpired reports whether the service ended a stream because it was silent after the end of its input.
func inputGraceExpired(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.StreamCode == "STDIN_CLOSE_GRACE_EXPIRED"
}
