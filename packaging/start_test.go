package packaging

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/e2e/world"
)

// service is a unit as it is installed, started without systemd in a node: with its
// user, groups, capabilities, directories, environment files, and with a view of the
// file system as restricted as it says. What is left out are filters of system calls
// and the control group's list of devices.
type service struct {
	unit
	node *world.Node
	// etc is the node's own /etc/pgresync, seen from outside of the node.
	etc string
}

func (s service) environment(t testing.TB) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, file := range s.unit["EnvironmentFile"] {
		maps.Copy(env, readEnvironment(t, filepath.Join(s.etc, filepath.Base(file))))
	}
	return env
}

// argv starts the unit's program with further arguments.
func (s service) argv(t testing.TB, args ...string) []string {
	t.Helper()
	inner := append(s.restricted(t), s.last("ExecStart"))
	script := strings.Join(append(s.prepared(t), "umask "+s.last("UMask"), `exec "$@"`), "\n")
	return slices.Concat(s.namespace(), []string{"sh", "-euc", script, "unit"}, inner, args)
}

// namespace is a mount namespace as systemd makes one: a slave of the host's.
func (s service) namespace() []string {
	if s.last("ProtectSystem") != "strict" {
		return nil
	}
	return []string{"unshare", "--mount", "--propagation", "slave", "--"}
}

// prepared are the directories and the view of the file system.
func (s service) prepared(t testing.TB) []string {
	t.Helper()
	var steps []string
	owner := s.last("User")
	if owner == "" {
		owner = "root"
	}
	for key, parent := range map[string]string{"StateDirectory": "/var/lib/", "RuntimeDirectory": "/run/"} {
		if name := s.last(key); name != "" {
			steps = append(steps, "install -d -o "+owner+" -g "+owner+" -m "+s.last(key+"Mode")+" "+parent+name)
		}
	}
	if s.namespace() == nil {
		return steps
	}
	if name := s.last("StateDirectory"); name != "" {
		steps = append(steps, "mount --bind /var/lib/"+name+" /var/lib/"+name)
	}
	steps = append(steps, "mount -o bind,remount,ro /", "mount -o bind,remount,ro /sys")
	if s.last("PrivateTmp") == "yes" {
		steps = append(steps, "mount -t tmpfs tmpfs /tmp")
	}
	if s.last("ProtectHome") == "yes" {
		steps = append(steps, "mount -t tmpfs -o ro tmpfs /root", "mount -t tmpfs -o ro tmpfs /home")
	}
	if s.last("ProcSubset") == "pid" {
		steps = append(steps, "mount -t proc -o subset=pid,hidepid="+s.last("ProtectProc")+" proc /proc")
	}
	return steps
}

// restricted is setpriv(1) with what the unit says of users and capabilities.
func (s service) restricted(t testing.TB) []string {
	t.Helper()
	argv := []string{"setpriv", "--bounding-set", s.bounding()}
	if user := s.last("User"); user != "" {
		groups := strings.Join(append([]string{s.last("Group")}, s.words("SupplementaryGroups")...), ",")
		argv = append(argv, "--reuid", user, "--regid", s.last("Group"), "--groups", groups, "--inh-caps=-all")
	}
	if s.last("NoNewPrivileges") == "yes" {
		argv = append(argv, "--no-new-privs")
	}
	return append(argv, "--")
}

func (s service) bounding() string {
	set := "-all"
	for _, c := range s.words("CapabilityBoundingSet") {
		set += ",+" + strings.ToLower(strings.TrimPrefix(c, "CAP_"))
	}
	return set
}

// edit changes assignments in one of the node's environment files, and adds those
// that the example has as comments only.
func (s service) edit(t testing.TB, file string, values map[string]string) {
	t.Helper()
	path := filepath.Join(s.etc, file)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	for _, key := range slices.Sorted(maps.Keys(values)) {
		assignment := key + `="` + values[key] + `"`
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, key+"=") })
		if i < 0 {
			lines = append(lines, assignment)
		} else {
			lines[i] = assignment
		}
	}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o640); err != nil {
		t.Fatal(err)
	}
}
