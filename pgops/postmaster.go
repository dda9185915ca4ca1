package pgops

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// whose tells whose the process is that a postmaster.pid names.
type whose int

const (
	nobodys   whose = iota // there is no such process, or no such file
	ours                   // the postmaster of that directory
	strangers              // a live process of something else: the file is stale
)

// postmasterOf finds the process that runs on a data directory. A pid file alone
// proves nothing: a copy brings the primary's, and its number may by now belong to
// anyone (PG-4b). PostgreSQL works from inside its data directory, so the
// process's working directory decides, compared as a file and not as a path: the
// directory may have been renamed or mounted elsewhere since.
func postmasterOf(dataDir string) (int, whose, error) { return postmasterIn("/proc", dataDir) }

func postmasterIn(proc, dataDir string) (int, whose, error) {
	b, err := readPIDFile(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nobodys, nil
	}
	if err != nil {
		return 0, nobodys, fmt.Errorf("data directory %s: %w", dataDir, err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil || pid == 0 {
		return 0, nobodys, fmt.Errorf("data directory %s: postmaster.pid does not begin with a process id", dataDir)
	}
	pid = max(pid, -pid) // negative for a single-user backend
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return pid, nobodys, nil
	}
	who, err := worksIn(proc, pid, dataDir)
	return pid, who, err
}

// readPIDFile: PostgreSQL's own buffer for it has 8 KiB (AddToDataDirLockFile).
func readPIDFile(dataDir string) ([]byte, error) {
	return readWarily(filepath.Join(dataDir, "postmaster.pid"), 8<<10)
}

// runsOnCopy reports whether a postmaster runs on a copy that has just been made.
// Where no more is known of its process than that it lives, the path in
// postmaster.pid tells it from the primary's, whose file the copy came with
// (storage-file-layout: line 2).
func runsOnCopy(proc, dataDir string) (int, bool) {
	pid, who, err := postmasterIn(proc, dataDir)
	if err != nil || who != ours {
		return pid, false
	}
	if _, err := os.Stat(filepath.Join(proc, strconv.Itoa(pid), "cwd")); err == nil {
		return pid, true
	}
	b, err := readPIDFile(dataDir)
	if err != nil {
		return pid, false
	}
	_, rest, _ := strings.Cut(string(b), "\n")
	path, _, _ := strings.Cut(rest, "\n")
	there, err := os.Stat(path)
	here, err2 := os.Stat(dataDir)
	return pid, err == nil && err2 == nil && os.SameFile(there, here)
}

// worksIn looks at the process's working directory. Where that cannot be seen
// (no /proc, as on FreeBSD by default, or no right to) a live process is taken for
// the postmaster: to err on that side destroys nothing.
func worksIn(proc string, pid int, dataDir string) (whose, error) {
	if _, err := os.Stat(filepath.Join(proc, "self", "cwd")); err != nil {
		return ours, nil //nolint:nilerr // no /proc here
	}
	dir, err := os.Stat(dataDir)
	if err != nil {
		return nobodys, fmt.Errorf("data directory %s: %w", dataDir, err)
	}
	process := filepath.Join(proc, strconv.Itoa(pid))
	if exe, err := os.Readlink(process + "/exe"); err == nil && !ofPostgres(exe) {
		// It may work on a file system that does not answer (NFS, FUSE), which would keep us
		// for ever.
		return strangers, nil
	}
	cwd, err := os.Stat(process + "/cwd")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nobodys, nil // it ended, or is a zombie, which has no directory
	case errors.Is(err, fs.ErrPermission):
		return byOwner(process, dir), nil
	case err != nil:
		return nobodys, fmt.Errorf("process %d: %w", pid, err)
	case os.SameFile(cwd, dir):
		return ours, nil
	}
	return strangers, nil
}

// byOwner uses that PostgreSQL runs as the owner of its data directory only.
func byOwner(process string, dir fs.FileInfo) whose {
	info, err := os.Stat(process)
	if err != nil {
		return nobodys
	}
	if ownerOf(info) == ownerOf(dir) {
		return ours
	}
	return strangers
}

func ownerOf(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// lingering reports whether any server process still works in the data directory.
// The logging collector outlives the postmaster by a moment, and a file system
// with a process in it cannot be unmounted. False where there is no /proc.
func lingering(dataDir string) bool {
	dir, err := os.Stat(dataDir)
	if err != nil {
		return false
	}
	links, _ := filepath.Glob("/proc/[0-9]*/exe") // the pattern is valid
	for _, link := range links {
		exe, err := os.Readlink(link)
		if err != nil || !ofPostgres(exe) {
			continue
		}
		if cwd, err := os.Stat(filepath.Join(filepath.Dir(link), "cwd")); err == nil && os.SameFile(cwd, dir) {
			return true
		}
	}
	return false
}
