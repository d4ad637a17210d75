//go:build linux || darwin

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func (p *plainPlace) copyTree(ctx context.Context, c copying) (int64, error) { return copyTree(ctx, c) }

// link shows a volume at a path where the container may have one. It is a link, since there are no mounts of its own.
func (c *plainContainer) link(m boundMount) error {
	if m.ReadOnly {
		return fmt.Errorf("%w: plain isolation cannot keep a volume from being written to", errors.ErrUnsupported)
	}
	if err := c.makeDirs(filepath.Dir(m.Target)); err != nil {
		return err
	}
	root, err := os.OpenRoot(m.Source)
	if err != nil {
		return err
	}
	defer root.Close()
	if m.SubPath != "" {
		if err := root.MkdirAll(m.SubPath, 0o777); err != nil {
			return err
		}
	}
	err = c.files.in(m.Target, func(root *os.Root, rel string) error {
		return root.Symlink(filepath.Join(m.Source, m.SubPath), rel)
	})
	if err != nil {
		return err
	}
	c.mounted = append(c.mounted, m.Target)
	c.files.links = append(c.files.links, m)
	return nil
}
