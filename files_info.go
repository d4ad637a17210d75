package cwsandbox

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// statFormat prints what fileInfo holds: the mode in hexadecimal digits, the size, the time in seconds. The slash cannot
// be part of a name.
const statFormat = `%f/%s/%Y/`

// fileInfo describes a file in a sandbox.
type fileInfo struct {
	name    string
	size    int64
	mode    fs.FileMode
	modTime time.Time
}

func (i fileInfo) Name() string       { return i.name }
func (i fileInfo) Size() int64        { return i.size }
func (i fileInfo) Mode() fs.FileMode  { return i.mode }
func (i fileInfo) ModTime() time.Time { return i.modTime }
func (i fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i fileInfo) Sys() any           { return nil }
func (i fileInfo) String() string     { return fs.FormatFileInfo(i) }

// parseInfo reads the fields of statFormat.
func parseInfo(name string, fields []string) (fileInfo, error) {
	if len(fields) < 3 {
		return fileInfo{}, fmt.Errorf("stat has printed too little")
	}
	mode, err := strconv.ParseUint(fields[0], 16, 32)
	if err != nil {
		return fileInfo{}, err
	}
	size, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return fileInfo{}, err
	}
	seconds, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return fileInfo{}, err
	}
	return fileInfo{name, size, fileMode(uint32(mode)), time.Unix(seconds, 0)}, nil
}

// parseListing reads what the listing script has printed: for each file the fields of statFormat, then "./" and the name.
func parseListing(out string) ([]fs.DirEntry, error) {
	const fieldsOfOne = 5
	fields := strings.Split(out, "/")
	entries := make([]fs.DirEntry, 0, len(fields)/fieldsOfOne)
	for len(fields) > fieldsOfOne {
		fields[0] = strings.TrimPrefix(fields[0], "\n") // of the line before
		info, err := parseInfo(fields[4], fields)
		if err != nil {
			return nil, err
		}
		entries = append(entries, fs.FileInfoToDirEntry(info))
		fields = fields[fieldsOfOne:]
	}
	if rest := strings.Join(fields, "/"); strings.TrimSpace(rest) != "" {
		return nil, fmt.Errorf("the listing ends in %q", rest)
	}
	return entries, nil
}

// The bits of a mode on Linux.
const (
	unixType   = 0o170000
	unixSetuid = 0o4000
	unixSetgid = 0o2000
	unixSticky = 0o1000
)

var unixTypes = map[uint32]fs.FileMode{
	0o010000: fs.ModeNamedPipe,
	0o020000: fs.ModeDevice | fs.ModeCharDevice,
	0o040000: fs.ModeDir,
	0o060000: fs.ModeDevice,
	0o100000: 0,
	0o120000: fs.ModeSymlink,
	0o140000: fs.ModeSocket,
}

// fileMode translates a mode of Linux, where sandboxes run, whatever the system of this program is.
func fileMode(unix uint32) fs.FileMode {
	mode := fs.FileMode(unix) & fs.ModePerm
	kind, known := unixTypes[unix&unixType]
	if !known {
		kind = fs.ModeIrregular
	}
	mode |= kind
	for bit, flag := range map[uint32]fs.FileMode{
		unixSetuid: fs.ModeSetuid, unixSetgid: fs.ModeSetgid, unixSticky: fs.ModeSticky,
	} {
		if unix&bit != 0 {
			mode |= flag
		}
	}
	return mode
}
