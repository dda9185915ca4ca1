package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// TestSeparation runs a standby's sidecar whose privileges are separated, has it do
// all that it is there for, and asks its privileged part for what it must not do.
func TestSeparation(t *testing.T) {
	failures := sayAgain(t)
	s := newSeparated(t)
	for _, step := range []step{
		{"a seed", s.seeds},
		{"the part that is connected has no privileges", s.isUnprivileged},
		{"doctor separates, too, and is content", s.doctor},
		{"an increment", s.increments},
		{"killed in the switch, it goes on", s.goesOnAfterKill},
		{"the unprivileged part is killed, and a new start goes on", s.goesOnAfterChildsDeath},
		{"the old copy serves again when PostgreSQL refuses to start", s.reverts},
		{"neither it nor its privileged part touches what is not ours", s.refusesForeign},
	} {
		if !failures.run(t, step) {
			t.Fatalf("%q failed", step.name)
		}
	}
}

// separated is the stage of that test.
type separated struct {
	*stage
	bin   string
	under []string
	env   map[string]string
}

func newSeparated(t *testing.T) *separated {
	t.Helper()
	bin, out := requireLab(t)
	page, err := os.ReadFile(filepath.Join(bin, "unprivileged.md"))
	must(t, err)
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2"}, Bin: bin, Out: out, Separate: true, Tail: tail})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	s := &separated{bin: bin, stage: &stage{w: w, db1: w.Node("db1"), db2: w.Node("db2"), secondary: map[*world.Node]*world.Process{}, out: out}}
	must(t, s.db1.InitPrimary(t.Context()))
	must(t, s.db1.Fill(t.Context(), scale, 8<<20))
	s.startPrimary(t, nil)
	// The capabilities of the page are enough for the privileged part, too.
	s.under = (&privileged{w: w, db1: s.db1, page: string(page)}).capabilities(t)
	s.env = world.OtherMounts()
	pool := s.db2.Pool()
	for _, argv := range [][]string{
		{"zfs", "create", "-o", "mountpoint=/srv/other", pool + "/other"},
		{"zfs", "snapshot", pool + "/other@s"},
	} {
		run(t, s.db2, argv...)
	}
	return s
}

func (s *separated) begin(t testing.TB, env map[string]string) {
	t.Helper()
	all := maps.Clone(s.env)
	maps.Copy(all, env)
	p, err := s.db2.StartSidecarUnder(t.Context(), s.under, world.Secondary, all)
	must(t, err)
	s.secondary[s.db2] = p
}

func (s *separated) well(t testing.TB) {
	t.Helper()
	must(t, s.w.Streaming(t.Context(), patience, s.db1, s.db2))
	s.idle(t, s.db2, patience)
	_, err := s.w.SameRows(t.Context(), patience, nil, s.db1, s.db2)
	must(t, err)
	s.nothingWasRefused(t)
}

// nothingWasRefused: whatever a resync does is on the list.
func (s *separated) nothingWasRefused(t testing.TB) {
	t.Helper()
	for _, l := range s.db2.Logged(world.Secondary, 0, "refused to the unprivileged part") {
		t.Errorf("refused: %s: %s", l.Str("command"), l.Str("error"))
	}
}

func (s *separated) seeds(t part) {
	s.begin(t, nil)
	s.well(t)
	for _, d := range []string{"", "/wal", "/ts1"} {
		if got := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "canmount", s.db2.Live()+d); got != "on" {
			t.Errorf("%s%s: canmount is %s, a boot would not mount it", s.db2.Live(), d, got)
		}
		if got := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "setuid,devices", s.db2.Live()+d); got != "off\noff" {
			t.Errorf("%s%s: setuid and devices are %q, want both off: it may be mounted without our options", s.db2.Live(), d, got)
		}
		if got := run(t, s.db2, "grep", "^"+s.db2.Live()+d+" ", "/proc/self/mounts"); !strings.Contains(got, "nosuid") || !strings.Contains(got, "nodev") {
			t.Errorf("mounted as %s", got)
		}
	}
}

// child is the unprivileged part.
func (s *separated) child(t testing.TB) int {
	t.Helper()
	parent := s.secondary[s.db2].PID()
	found := 0
	must(t, world.Until(t.Context(), "the unprivileged part", patience, func(context.Context) (bool, string) {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
		for _, task := range tasks {
			b, _ := os.ReadFile(task)
			for pid := range strings.FieldsSeq(string(b)) {
				comm, _ := os.ReadFile("/proc/" + pid + "/comm")
				status, _ := os.ReadFile("/proc/" + pid + "/status")
				// Root's other children have that name, too, for a moment: until they become zfs.
				if strings.HasPrefix(string(comm), "secondary") && !strings.Contains(string(status), "\nUid:\t0\t") {
					found, _ = strconv.Atoi(pid)
				}
			}
		}
		return found != 0, fmt.Sprintf("children of %d in %v", parent, tasks)
	}))
	return found
}

func (s *separated) isUnprivileged(t part) {
	pid := s.child(t)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	uid := run(t, s.db2, "id", "-u", "postgres")
	zero := "0000000000000000\n"
	for _, want := range []string{
		"Uid:\t" + uid + "\t" + uid + "\t" + uid + "\t" + uid + "\n", "NoNewPrivs:\t1\n", "CapEff:\t" + zero, "CapPrm:\t" + zero, "CapInh:\t" + zero, "CapAmb:\t" + zero,
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
	for who, pid := range map[string]int{"privileged": s.secondary[s.db2].PID(), "unprivileged": pid} {
		n := inetSockets(t, pid)
		if (n > 0) != (who == "unprivileged") {
			t.Errorf("the %s part has %d connections", who, n)
		}
		t.Logf("the %s part: %d sockets of the network, %s", who, n, strings.Join(memory(pid), ", "))
	}
}

// memory is what is resident, of which the program's text is one file for both parts.
func memory(pid int) (out []string) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "VmRSS:") || strings.HasPrefix(line, "RssAnon:") {
			out = append(out, strings.Join(strings.Fields(line), " "))
		}
	}
	return out
}

func (s *separated) doctor(t part) {
	argv := []string{"sh", "-c", `"$@" || true`, "doctor", "env"}
	env := s.db2.SidecarEnv(world.Secondary, s.env)
	for _, key := range slices.Sorted(maps.Keys(env)) {
		argv = append(argv, key+"="+env[key])
	}
	out := run(t, s.db2, append(argv, filepath.Join(s.bin, world.Secondary), "doctor")...)
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "error ") {
			t.Errorf("doctor: %s", line)
		}
	}
	if !strings.Contains(out, "peers") {
		t.Errorf("doctor says:\n%s", out)
	}
}

// sockets are inode numbers by the process's file descriptors.
func sockets(t testing.TB, pid int) map[string]int {
	t.Helper()
	out := map[string]int{}
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(t, err)
	for _, link := range links {
		to, _ := os.Readlink(link) // it may be closed by now
		if inode, ok := strings.CutPrefix(to, "socket:["); ok {
			out[strings.TrimSuffix(inode, "]")], _ = strconv.Atoi(filepath.Base(link))
		}
	}
	return out
}

func inetSockets(t testing.TB, pid int) int {
	t.Helper()
	mine, n := sockets(t, pid), 0
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		must(t, err)
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) > 9 {
				if _, ok := mine[f[9]]; ok {
					n++
				}
			}
		}
	}
	return n
}

func (s *separated) increments(t part) {
	must(t, s.db1.AddDocuments(t.Context(), 2, 1<<20))
	s.snapshot(t)
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "proof", proven)
	if got, seed := bytesOf(t, s.db2, m, "increment", "none"), seedBytes(t, s.db2); got == 0 || got > seed/2 {
		t.Errorf("the increments moved %.0f bytes, the seed had moved %.0f", got, seed)
	}
	s.well(t)
}

func (s *separated) goesOnAfterKill(t part) {
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "the switch", entered("switching"))
	s.secondary[s.db2].Kill9()
	s.begin(t, nil)
	s.well(t)
}

// goesOnAfterChildsDeath: the privileged part must not stay behind, whatever the
// other one dies of.
func (s *separated) goesOnAfterChildsDeath(t part) {
	pid := s.child(t)
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "the start", entered("starting"))
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	must(t, world.Until(t.Context(), "the end of the privileged part", patience, func(context.Context) (bool, string) {
		return !s.secondary[s.db2].Running(), s.secondary[s.db2].String()
	}))
	s.begin(t, nil)
	s.well(t)
}

func (s *separated) reverts(t part) {
	guid := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", s.db2.Live())
	must(t, s.secondary[s.db2].Stop())
	s.begin(t, map[string]string{"PGRESYNC_POSTGRES_SETTINGS": "shared_preload_libraries=there_is_no_such_library"})
	m := s.trigger(t, s.db2, "")
	s.until(t, s.db2, m, patience, "the way back", entered("reverting"))
	must(t, world.Until(t.Context(), "db2 to be at rest", patience, func(context.Context) (bool, string) {
		p := phase(s.db2)
		return p == "waiting" || p == "needs-operator" || p == "idle", p
	}))
	must(t, s.w.Streaming(t.Context(), patience, s.db1, s.db2))
	if got := run(t, s.db2, "zfs", "get", "-H", "-o", "value", "guid", s.db2.Live()); got != guid {
		t.Errorf("live dataset: got guid %s, want %s, the one before", got, guid)
	}
	s.nothingWasRefused(t)
	must(t, s.secondary[s.db2].Stop())
	s.begin(t, nil)
	s.until(t, s.db2, m, patience, "a journal", func(l world.Line) bool { return l.Message == "journal read" })
}

// refusesForeign asks as the unprivileged part would if it were somebody else's.
func (s *separated) refusesForeign(t part) {
	pool, live := s.db2.Pool(), s.db2.Live()
	state := func() string {
		return run(t, s.db2, "zfs", "get", "-H", "-r", "-o", "name,property,value", "guid,mountpoint,canmount,mounted,setuid,sharenfs", pool)
	}
	attempts := [][]string{
		{"zfs", "destroy", pool + "/other"},
		{"zfs", "destroy", "-r", pool + "/other"},
		{"zfs", "destroy", pool + "/other@s"},
		{"zfs", "rename", "-u", pool + "/other", live + ".pgresync-next"},
		{"zfs", "set", "mountpoint=/etc", live},
		{"zfs", "set", "setuid=on", live},
		{"zfs", "set", "canmount=on", pool + "/pgresync/main"},
		{"zfs", "mount", pool + "/other"},
		{"zfs", "unmount", pool + "/other"},
		{"zfs", "receive", "-F", pool + "/other"},
		{"zfs", "destroy", "-R", live},
		{"zpool", "destroy", pool},
		{"systemctl", "poweroff"},
		{"sh", "-c", "id"},
	}
	before := state()
	var refused []string
	for _, argv := range attempts {
		_, err := s.db2.Run(t.Context(), append([]string{
			"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--",
		}, argv...)...)
		if err == nil && argv[0] != "sh" {
			t.Errorf("its user may do by itself: %s", argv)
		}
		m := mark(s.db2)
		s.ask(t, argv)
		l := s.until(t, s.db2, m, patience, "the refusal of "+strings.Join(argv, " "), func(l world.Line) bool {
			return l.Message == "refused to the unprivileged part"
		})
		refused = append(refused, l.Str("command")+": "+l.Str("error"))
	}
	if after := state(); after != before {
		t.Errorf("something was changed; before:\n%s\nafter:\n%s", before, after)
	}
	t.Logf("asked of the privileged part, and refused:\n%s", strings.Join(refused, "\n"))
	must(t, os.WriteFile(filepath.Join(s.out, "refused-separated.txt"), []byte(strings.Join(refused, "\n")+"\n"), 0o600))
	must(t, s.secondary[s.db2].Stop())
}

// ask speaks on the unprivileged part's own socket.
func (s *separated) ask(t testing.TB, argv []string) {
	t.Helper()
	pid := s.child(t)
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/unix", pid))
	must(t, err)
	mine, theirs := sockets(t, pid), -1
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 7 || f[4] != "0005" { // SOCK_SEQPACKET
			continue
		}
		if fd, ok := mine[f[6]]; ok {
			theirs = fd
		}
	}
	if theirs < 0 {
		t.Fatalf("process %d has no socket to its privileged part", pid)
	}
	fd := steal(t, pid, theirs)
	defer syscall.Close(fd)
	type request struct {
		ID      uint64   `json:"id"`
		Program string   `json:"program"`
		Args    [][]byte `json:"args"`
	}
	r := request{ID: 1 << 40, Program: argv[0]}
	for _, a := range argv[1:] {
		r.Args = append(r.Args, []byte(a))
	}
	message, err := json.Marshal(r)
	must(t, err)
	_, err = syscall.Write(fd, message)
	must(t, err)
}

// steal is pidfd_getfd(2).
func steal(t testing.TB, pid, fd int) int {
	t.Helper()
	const pidfdOpen, pidfdGetfd = 434, 438
	process, _, e := syscall.Syscall(pidfdOpen, uintptr(pid), 0, 0)
	if e != 0 {
		t.Fatalf("pidfd_open of %d: %v", pid, e)
	}
	defer syscall.Close(int(process))
	got, _, e := syscall.Syscall(pidfdGetfd, process, uintptr(fd), 0)
	if e != 0 {
		t.Fatalf("pidfd_getfd of %d: %v", pid, e)
	}
	return int(got)
}
