package pgops

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// maxUsers bounds how many processes are named: the rest would be of the same kind.
const maxUsers = 8

// UsersOf names the processes that keep what is mounted at the given places from
// being unmounted: with a working directory, root, program or open file there.
// PostgreSQL's own, this one and those excepted are left out. It names whom it may see: others'
// processes take root. Where there is no /proc the answer is empty.
func UsersOf(mountpoints []string, except ...int) []string {
	devices := map[uint64]string{}
	for _, m := range mountpoints {
		if info, err := os.Stat(m); err == nil {
			devices[deviceOf(info)] = m
		}
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is valid
	var out []string
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || slices.Contains(except, pid) || fromPostgres(dir) {
			continue
		}
		if at, how := usedBy(dir, devices); at != "" {
			out = append(out, fmt.Sprintf("%s (process %d, %s in %s)", commandOf(dir), pid, how, at))
		}
	}
	slices.Sort(out)
	if n := len(out); n > maxUsers {
		out = append(out[:maxUsers], fmt.Sprintf("and %d more", n-maxUsers))
	}
	return out
}

// usedBy compares devices: every ZFS file system has one of its own, and a path in
// /proc may be of another mount namespace.
func usedBy(process string, devices map[uint64]string) (at, how string) {
	for _, link := range []struct{ name, how string }{{"cwd", "working directory"}, {"root", "root directory"}, {"exe", "program"}} {
		if at, ok := on(filepath.Join(process, link.name), devices); ok {
			return at, link.how
		}
	}
	files, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
	for _, f := range files {
		if at, ok := on(f, devices); ok {
			return at, "open file"
		}
	}
	return "", ""
}

func on(path string, devices map[uint64]string) (string, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return "", false
	}
	at, ok := devices[deviceOf(info)]
	return at, ok
}

func deviceOf(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Dev
	}
	return 0
}

// fromPostgres: what PostgreSQL has started, a restore_command for example, ends
// with it.
func fromPostgres(process string) bool {
	const generations = 8
	for range generations {
		if isPostgres(process) {
			return true
		}
		parent := parentOf(process)
		if parent == "" || parent == "1" {
			return false
		}
		process = filepath.Join("/proc", parent)
	}
	return false
}

// parentOf reads proc(5)'s stat: "pid (comm) state ppid …", where comm may hold
// spaces and parentheses.
func parentOf(process string) string {
	b, err := os.ReadFile(filepath.Join(process, "stat"))
	if err != nil {
		return ""
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 2 {
		return ""
	}
	return fields[1]
}

func isPostgres(process string) bool {
	exe, err := os.Readlink(filepath.Join(process, "exe"))
	return err == nil && strings.HasPrefix(filepath.Base(exe), "postgres")
}

func commandOf(process string) string {
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil {
		return "?"
	}
	return clip(strings.TrimSpace(string(name)))
}
