package cwsandbox

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// disk answers the scripts of transfers with a file in memory, as a container would.
type disk struct {
	mu      sync.Mutex // one command at a time: one that was cut may not have noticed when the next begins
	content []byte
	partial []byte     // the temporary file
	seen    [][]string // the commands, from $0 on
	cut     int        // in how many bytes of content the stream breaks; zero: it does not
	lose    int        // how many bytes at the end get lost, unseen
	grace   bool       // the end of input is not noticed
}

// words are the parameters of the last command.
func (d *disk) words() []string { return d.seen[len(d.seen)-1][1:] }

// names are the scripts that were run.
func (d *disk) names() []string {
	var names []string
	for _, command := range d.seen {
		names = append(names, strings.TrimPrefix(command[0], "cwsandbox-"))
	}
	return names
}

func (d *disk) exec(x *dialog) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	command := slices.Clone(x.init.GetCommand()[3:])
	if strings.HasPrefix(x.init.GetCommand()[2], decodeWords) {
		for i, word := range command[1:] {
			command[i+1] = decodeWord(word)
		}
	}
	d.seen = append(d.seen, command)
	if err := x.ready(); err != nil {
		return err
	}
	switch command[0] {
	case "cwsandbox-download":
		return d.print(x)
	case "cwsandbox-upload":
		return d.receive(x, command[4])
	case "cwsandbox-upload-finish":
		return d.commit(x, command[4])
	case "cwsandbox-upload-discard":
		d.partial = nil
	}
	return x.exit(0)
}

// decodeWord does what the script does with an encoded word.
func decodeWord(word string) string {
	var b []byte
	for _, digits := range strings.Split(word, `\0`)[1:] {
		c, err := strconv.ParseUint(digits, 8, 8)
		if err != nil {
			panic(err)
		}
		b = append(b, byte(c))
	}
	return string(b)
}

func (d *disk) print(x *dialog) error {
	if err := x.err(fmt.Sprintf("size %d\n", len(d.content))); err != nil {
		return err
	}
	content := d.content[:len(d.content)-d.lose]
	if d.cut > 0 {
		content = content[:d.cut-1]
	}
	for piece := range slices.Chunk(content, 1000) {
		if err := x.out(string(piece)); err != nil {
			return err
		}
	}
	if d.cut > 0 {
		return status.Error(codes.Unavailable, "cut")
	}
	return x.exit(0)
}

func (d *disk) receive(x *dialog, count string) error {
	d.partial = []byte{}
	want, counted := -1, count != ""
	if counted {
		want, _ = strconv.Atoi(count)
	}
	for len(d.partial) != want {
		frame, err := x.stream.Recv()
		if err == io.EOF || err == nil && frame.GetClose() != nil {
			break
		}
		if err != nil {
			return err
		}
		d.partial = append(d.partial, frame.GetStdin()...)
		if d.cut > 0 && len(d.partial) >= d.cut {
			return status.Error(codes.Unavailable, "cut")
		}
	}
	d.partial = d.partial[:len(d.partial)-d.lose]
	switch {
	case counted:
		return d.commit(x, count)
	case d.grace:
		return x.fail("STDIN_CLOSE_GRACE_EXPIRED", "silent for too long")
	}
	return x.exit(0)
}

func (d *disk) commit(x *dialog, count string) error {
	if fmt.Sprint(len(d.partial)) != count {
		d.partial = nil
		return x.exit(exitShort)
	}
	d.content, d.partial = d.partial, nil
	return x.exit(0)
}
