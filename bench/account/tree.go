package account

import (
	"cmp"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
)

// Line is the sum of one class.
type Line struct {
	Class           Class
	Files, Blocks   uint64
	Stored, Logical uint64
}

// Files maps object numbers to paths below root, which must be the mount point of
// the dataset, or of the snapshot, that the stream was sent from. It does not
// leave the file system.
func Files(root string) (map[uint64]string, error) {
	out := map[uint64]string{}
	device, err := deviceOf(root)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil // deleted while we looked
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no inode number", path)
		}
		if uint64(st.Dev) != device { //nolint:unconvert // signed, and shorter, elsewhere
			return skip(e)
		}
		if rel, err := filepath.Rel(root, path); err == nil && e.Type().IsRegular() {
			out[st.Ino] = rel
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("files below %s: %w", root, err)
	}
	return out, nil
}

func skip(e fs.DirEntry) error {
	if e.IsDir() {
		return fs.SkipDir
	}
	return nil
}

func deviceOf(path string) (uint64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev), nil //nolint:unconvert // signed, and shorter, elsewhere
	}
	return 0, fmt.Errorf("%s: no device number", path)
}

// Sum accounts for every byte of a stream, greatest class first.
func (s *Stream) Sum(files map[uint64]string) []Line {
	paths := map[string]bool{}
	for _, p := range files {
		paths[p] = true
	}
	unlogged := func(relation string) bool { return paths[relation+"_init"] }
	sums := map[Class]*Line{}
	rest := s.Total
	for number, o := range s.Objects {
		class := Unnamed
		if path, ok := files[number]; ok {
			class = Classify(path, unlogged)
		}
		l := sums[class]
		if l == nil {
			l = &Line{Class: class}
			sums[class] = l
		}
		l.Files++
		l.Blocks += o.Blocks
		l.Stored += o.Stored
		l.Logical += o.Logical
		rest -= o.Stored
	}
	sums[Records] = &Line{Class: Records, Stored: rest, Logical: rest}
	return slices.SortedFunc(func(yield func(Line) bool) {
		for _, l := range slices.Collect(maps.Values(sums)) {
			if !yield(*l) {
				return
			}
		}
	}, func(a, b Line) int {
		return cmp.Or(cmp.Compare(b.Stored, a.Stored), cmp.Compare(a.Class, b.Class))
	})
}

// Table prints the sums.
func Table(w io.Writer, lines []Line) error {
	var total uint64
	for _, l := range lines {
		total += l.Stored
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "travels\tshare\tuncompressed\tfiles\tblocks\t what")
	for _, l := range append(lines, Line{Class: "all", Stored: total}) {
		_, _ = fmt.Fprintf(t, "%.2f MiB\t%.1f %%\t%.2f MiB\t%d\t%d\t %s\n", mib(l.Stored), 100*float64(l.Stored)/float64(max(total, 1)),
			mib(l.Logical), l.Files, l.Blocks, l.Class)
	}
	return t.Flush()
}

func mib(n uint64) float64 { return float64(n) / (1 << 20) }
