package pgops

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The paths that other links lead to are not there, as those of a file system that does
// not answer: whoever follows one learns nothing, or waits.
func TestUsersAreFoundInTheKernelsTablesAlone(t *testing.T) {
	proc, place := t.TempDir(), filepath.Join(t.TempDir(), "my wal")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(proc, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(name, to string) {
		t.Helper()
		path := filepath.Join(proc, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.Symlink(to, path)); err != nil {
			t.Fatal(err)
		}
	}
	data := t.TempDir()
	if err := errors.Join(os.MkdirAll(filepath.Join(place, "deeper"), 0o700), os.Symlink("/proc", filepath.Join(place, "hidden")),
		os.WriteFile(filepath.Join(data, "1 (deleted)"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	dev := deviceAt(place)
	escaped := strings.ReplaceAll(place, " ", `\040`)
	write("self/mountinfo", "1 0 0:1 / / rw - ext4 x rw\n2 1 0:7 / "+escaped+" rw - nfs old rw\n3 1 "+dev+" / "+escaped+" rw shared:1 - zfs tank/pg rw\n"+
		"4 3 0:9 / "+escaped+"/inner rw - nfs dead rw\n")
	link("self/ns/mnt", "mnt:[1]")
	for pid, at := range map[string]string{
		"9000011": place + "/deeper", "9000012": place + "/inner/x", "9000013": place + "x", "9000014": "/", "9000015": "socket:[4711]",
		"9000016": place + "/hidden", // is of the file system that the mount hides
	} {
		link(pid+"/ns/mnt", "mnt:[1]")
		link(pid+"/cwd", at)
		write(pid+"/comm", "p"+pid+"\n")
	}
	// A container has it elsewhere.
	write("9000021/mountinfo", "1 0 0:60 / / rw - overlay x rw\n2 1 "+dev+" / "+data+" rw - zfs tank/pg rw\n")
	link("9000021/ns/mnt", "mnt:[2]")
	link("9000021/cwd", "/")
	link("9000021/fd/3", "pipe:[1]")
	link("9000021/fd/4", data+"/1 (deleted)")
	write("9000021/comm", "p9000021\n")
	// Whoever cannot be seen is not named.
	write("9000031/comm", "p31\n")

	want := []string{"p9000011 (process 9000011, working directory in " + place + ")", "p9000021 (process 9000021, open file in " + place + ")"}
	if got := usersIn(proc, []string{place, "/nowhere at all"}, nil); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := usersIn(proc, []string{place}, []int{9000011, 9000021}); len(got) != 0 {
		t.Errorf("got %q of those excepted", got)
	}
}
