package pgops

import (
	"fmt"
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
//
// The kernel's tables are read. What others work in is not touched, but for what by
// its path lies there: a file system that does not answer (NFS, FUSE) would keep us
// for ever, and this one call may come while PostgreSQL is down.
func UsersOf(mountpoints []string, except ...int) []string {
	return usersIn("/proc", mountpoints, except)
}

func usersIn(proc string, mountpoints []string, except []int) []string {
	here := mountsOf(filepath.Join(proc, "self"))
	devices := map[string]string{}
	for _, m := range mountpoints {
		if real, err := filepath.EvalSymlinks(m); err == nil && here[real] != "" {
			devices[here[real]] = m
		}
	}
	if len(devices) == 0 {
		return nil
	}
	spaces := namespaces{namespaceOf(filepath.Join(proc, "self")): here}
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*")) // the pattern is valid
	var out []string
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || pid == os.Getpid() || slices.Contains(except, pid) || fromPostgres(dir) {
			continue
		}
		if at, how := usedBy(dir, spaces.of(dir), devices); at != "" {
			out = append(out, fmt.Sprintf("%s (process %d, %s in %s)", commandOf(dir), pid, how, at))
		}
	}
	slices.Sort(out)
	if n := len(out); n > maxUsers {
		out = append(out[:maxUsers], fmt.Sprintf("and %d more", n-maxUsers))
	}
	return out
}

// mounts has the device of each mount point of a namespace: the same file system may
// be mounted elsewhere in another one, and every ZFS file system has a device of its
// own.
type mounts map[string]string

// mountsOf reads proc(5)'s mountinfo: "36 35 0:52 /root /mount\040point …". A later
// line hides an earlier one.
func mountsOf(process string) mounts {
	b, err := os.ReadFile(filepath.Join(process, "mountinfo"))
	if err != nil {
		return nil
	}
	m := mounts{}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 {
			m[unescaped.Replace(f[4])] = f[2]
		}
	}
	return m
}

// unescaped undoes what mangle() in the kernel's seq_file.c does to names.
var unescaped = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`, `\043`, "#")

// device is that of the file system which an absolute path of the namespace leads
// into.
func (m mounts) device(path string) string {
	for ; ; path = filepath.Dir(path) {
		if d, ok := m[path]; ok || path == "/" {
			return d
		}
	}
}

// namespaces are the mount namespaces that were seen.
type namespaces map[string]mounts

func (n namespaces) of(process string) mounts {
	id := namespaceOf(process)
	m, known := n[id]
	if !known {
		m = mountsOf(process)
		n[id] = m
	}
	return m
}

func namespaceOf(process string) string {
	id, _ := os.Readlink(filepath.Join(process, "ns", "mnt")) // none: it cannot be seen, nor can its files
	return id
}

// usedBy reads where links in /proc lead, and follows none.
func usedBy(process string, m mounts, devices map[string]string) (at, how string) {
	for _, link := range []struct{ name, how string }{{"cwd", "working directory"}, {"root", "root directory"}, {"exe", "program"}} {
		if at, ok := m.on(filepath.Join(process, link.name), devices); ok {
			return at, link.how
		}
	}
	files, _ := filepath.Glob(filepath.Join(process, "fd", "*"))
	for _, f := range files {
		if at, ok := m.on(f, devices); ok {
			return at, "open file"
		}
	}
	return "", ""
}

func (m mounts) on(link string, devices map[string]string) (string, bool) {
	path, err := os.Readlink(link)
	if err != nil || !filepath.IsAbs(path) { // "socket:[4711]"
		return "", false
	}
	device := m.device(path)
	at, ok := devices[device]
	return at, ok && deviceAt(link) == device
}

// deviceAt is that of the file which a link in /proc leads to, as mountinfo has it: by
// its path, a file of what the mount hides looks like one of what is mounted.
func deviceAt(link string) string {
	info, err := os.Stat(link)
	if err != nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	major, minor := split(st.Dev)
	return fmt.Sprintf("%d:%d", major, minor)
}

// split undoes makedev(3), as Linux has it. Where there is no mountinfo there is no
// hit either.
func split(dev uint64) (major, minor uint64) {
	return dev>>8&0xfff | dev>>32&0xfffff000, dev&0xff | dev>>12&0xffffff00
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
		process = filepath.Join(filepath.Dir(process), parent)
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
	return err == nil && ofPostgres(exe)
}

// ofPostgres knows the server's program by its name, edb-postgres and Nix's
// .postgres-wrapped among them.
func ofPostgres(exe string) bool { return strings.Contains(filepath.Base(exe), "postgres") }

func commandOf(process string) string {
	name, err := os.ReadFile(filepath.Join(process, "comm"))
	if err != nil {
		return "?"
	}
	return clip(strings.TrimSpace(string(name)))
}
