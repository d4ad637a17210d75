package cwsandbox

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"unicode/utf8"
)

// maxCompose is the size of the largest document that the service takes.
const maxCompose = 256 << 10

// Compose is a Docker Compose document that a sandbox is created from: see [WithCompose]. It is given either by File or by
// Contents.
type Compose struct {
	File     string // path of the document: in FS if that is set, else on this machine
	FS       fs.FS  // such as an [embed.FS]
	Contents []byte // the document itself

	// Primary is the service whose container is the sandbox's primary one: commands run there by default, and its end is
	// the sandbox's end. It must be named.
	Primary string
	// Images replaces the images of services, or gives one to a service that would be built.
	Images map[string]string
	// Resources are those of each service that states none in the document, not of all together. There can be no GPU.
	Resources Resources
}

// composeFile is a document that was read.
type composeFile struct {
	Compose
	contents []byte
}

func (d Compose) clone() Compose {
	d.Contents = slices.Clone(d.Contents)
	d.Images = maps.Clone(d.Images)
	d.Resources = d.Resources.clone()
	return d
}

// shown is how the document prints.
func (d Compose) shown() string {
	if d.File != "" {
		return fmt.Sprintf("file %q", d.File)
	}
	return fmt.Sprintf("%d bytes", len(d.Contents))
}

// check reads the document and looks at what is said about it. What it says itself is the service's business.
func (d Compose) check(f *faults) (contents []byte) {
	contents, err := d.read()
	switch {
	case err != nil:
		f.add("contents", "%v", err)
		f.causes = append(f.causes, err)
	case len(contents) == 0:
		f.add("contents", "must not be empty")
	case len(contents) > maxCompose:
		f.add("contents", "must have at most %d bytes", maxCompose)
	case !utf8.Valid(contents):
		f.add("contents", "must be valid UTF-8")
	}
	checkWord(f, "primary_service", d.Primary)
	for _, service := range slices.Sorted(maps.Keys(d.Images)) {
		checkWord(f, "image_overrides", service)
		checkWord(f, keyed("image_overrides", service), d.Images[service])
	}
	d.Resources.check(f, "default_resources")
	if d.Resources.GPU != nil {
		f.add("default_resources.requests.gpu", "must not be set")
	}
	return contents
}

// read returns at most one byte more than is allowed. Stat comes first: to open a pipe may block.
func (d Compose) read() ([]byte, error) {
	switch {
	case d.File != "" && d.Contents != nil:
		return nil, fmt.Errorf("must not be given beside a file, %q", d.File)
	case d.File == "" && d.FS != nil:
		return nil, fmt.Errorf("need the name of a file in FS")
	case d.File == "":
		return d.Contents, nil
	}
	stat, open := os.Stat, func(name string) (fs.File, error) { return os.Open(name) }
	if d.FS != nil {
		stat, open = func(name string) (fs.FileInfo, error) { return fs.Stat(d.FS, name) }, d.FS.Open
	}
	info, err := stat(d.File)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", d.File)
	}
	file, err := open(d.File)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, maxCompose+1))
}
