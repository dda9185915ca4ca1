package diagnostics

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

const (
	// maxFile bounds one file in bytes; of a longer one the end is kept, where the
	// failure is.
	maxFile = 128 << 10
	// keep is how many bundles stay, the newest ones.
	keep = 10
)

// File is one file of a bundle.
type File struct {
	Name string
	Text string
}

// Dir is where bundles are left.
type Dir struct {
	// Path is absolute; the directory is made when the first bundle is.
	Path string
	// Secrets are masked wherever they stand.
	Secrets []string
}

// Write leaves a bundle, in place of an earlier one of the same resync, and removes
// what is beyond the bound. It returns the bundle's path.
func (d Dir) Write(id messages.ResyncID, files []File) (string, error) {
	path := filepath.Join(d.Path, string(id))
	if err := d.write(string(id), files); err != nil {
		return "", fmt.Errorf("leave diagnostics in %s: %w", path, err)
	}
	return path, nil
}

func (d Dir) write(name string, files []File) error {
	if !ours(name) {
		return fmt.Errorf("%q is no name for a bundle", name)
	}
	if err := os.MkdirAll(d.Path, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(d.Path)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	// Whoever looks sees a whole bundle or none.
	fresh := unfinished + name
	err = errors.Join(root.RemoveAll(fresh), root.Mkdir(fresh, 0o700))
	for _, f := range files {
		if err == nil {
			err = root.WriteFile(filepath.Join(fresh, filepath.Base(f.Name)), []byte(d.bounded(f.Text)), 0o600)
		}
	}
	if err == nil {
		err = errors.Join(root.RemoveAll(name), root.Rename(fresh, name))
	}
	return errors.Join(err, prune(root, name))
}

// unfinished begins the names of bundles that are being written.
const unfinished = ".new-"

// ours tells bundles from what somebody else put there: they have the names of
// resyncs, which sort by time.
func ours(name string) bool {
	var id messages.ResyncID
	return id.UnmarshalText([]byte(name)) == nil && id != ""
}

// prune never takes the newest, whatever the clock said when it got its name.
func prune(root *os.Root, newest string) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	var bundles []string
	var errs []error
	for _, e := range entries {
		switch rest, cut := strings.CutPrefix(e.Name(), unfinished); {
		case cut && ours(rest): // of a process that was killed
			errs = append(errs, root.RemoveAll(e.Name()))
		case e.IsDir() && ours(e.Name()) && e.Name() != newest:
			bundles = append(bundles, e.Name())
		}
	}
	slices.Sort(bundles)
	for _, old := range bundles[:max(0, len(bundles)-(keep-1))] {
		errs = append(errs, root.RemoveAll(old))
	}
	return errors.Join(errs...)
}

// bounded masks before the last cut: half a secret would not look like one.
func (d Dir) bounded(s string) string { return clip(d.mask(clip(s, 2*maxFile)), maxFile) }

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return "…" + s[len(s)-most:]
}
