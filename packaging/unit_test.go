package packaging

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unit is a unit file: the values of each setting, in order, after continuation and
// comments were taken care of.
type unit map[string][]string

func readUnit(t testing.TB, path string) unit {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	u := unit{}
	for line := range strings.SplitSeq(string(text), "\n") {
		key, value, found := strings.Cut(line, "=")
		if found && !strings.HasPrefix(line, "#") {
			u[key] = append(u[key], value)
		}
	}
	return u
}

func (u unit) last(key string) string {
	if len(u[key]) == 0 {
		return ""
	}
	return u[key][len(u[key])-1]
}

// words are those of all values together.
func (u unit) words(key string) []string { return strings.Fields(strings.Join(u[key], " ")) }

// namespaced are the options that give a unit a mount namespace of its own
// (systemd.exec(5), and exec_needs_mount_namespace in systemd's execute.c).
var namespaced = []string{
	"PrivateTmp", "PrivateDevices", "PrivateMounts", "PrivateIPC", "PrivateNetwork", "PrivateUsers", "ProtectSystem", "ProtectHome",
	"ProtectProc", "ProcSubset", "ProtectKernelTunables", "ProtectKernelModules", "ProtectKernelLogs", "ProtectControlGroups", "ProtectHostname",
	"ReadWritePaths", "ReadOnlyPaths", "InaccessiblePaths", "ExecPaths", "NoExecPaths", "BindPaths", "BindReadOnlyPaths",
	"TemporaryFileSystem", "MountFlags", "MountAPIVFS", "MountImages", "RootDirectory", "RootImage", "RootEphemeral",
	"ExtensionImages", "ExtensionDirectories", "IPCNamespacePath", "NetworkNamespacePath", "DynamicUser", "LogNamespace",
}

func TestTheUnitThatMountsHasTheHostsMountNamespace(t *testing.T) {
	u := readUnit(t, "systemd/pgresync-secondary.service")
	for _, key := range namespaced {
		if v, set := u[key]; set {
			t.Errorf("%s=%s would keep the mounts of a new copy from the host", key, v)
		}
	}
}

// PostgreSQL may be a child of the secondary's, which makes these a matter of its life.
func TestPostgreSQLOutlivesTheSecondary(t *testing.T) {
	u := readUnit(t, "systemd/pgresync-secondary.service")
	for key, want := range map[string]string{"KillMode": "process", "OOMPolicy": "continue", "TasksMax": "infinity", "RuntimeDirectoryPreserve": "yes", "UMask": "0022"} {
		if got := u.last(key); got != want {
			t.Errorf("%s=%s, want %s", key, got, want)
		}
	}
	for _, key := range []string{"MemoryMax", "MemoryHigh", "LimitAS", "LimitNPROC", "CPUQuota", "MemoryDenyWriteExecute", "NoNewPrivileges", "User", "RuntimeMaxSec"} {
		if v, set := u[key]; set {
			t.Errorf("%s=%s would bind PostgreSQL", key, v)
		}
	}
	for _, filter := range u["SystemCallFilter"] {
		if !strings.HasPrefix(filter, "~") || strings.Contains(filter, "@mount") {
			t.Errorf("SystemCallFilter=%s: want a list of what is forbidden, without @mount", filter)
		}
	}
}

func TestThePrimaryIsNotRoot(t *testing.T) {
	u := readUnit(t, "systemd/pgresync-primary.service")
	for key, want := range map[string]string{
		"User": "pgresync", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "DevicePolicy": "closed", "ProtectSystem": "strict",
	} {
		if got, set := u[key]; !set || got[len(got)-1] != want {
			t.Errorf("%s=%v, want %q", key, got, want)
		}
	}
	// Either would take /dev/zfs or the right to administer datasets away.
	for _, key := range []string{"PrivateDevices", "PrivateUsers"} {
		if v, set := u[key]; set {
			t.Errorf("%s=%s: ZFS does not work under it", key, v)
		}
	}
}

func TestUnitsHaveWhatTheyNeed(t *testing.T) {
	for _, side := range []string{"primary", "secondary"} {
		u := readUnit(t, "systemd/pgresync-"+side+".service")
		if got, want := u.last("ExecStart"), "/usr/bin/"+side+"-sidecar"; got != want {
			t.Errorf("%s: ExecStart=%s, want %s", side, got, want)
		}
		if !slices.Contains(u["DeviceAllow"], "/dev/zfs rw") {
			t.Errorf("%s: DeviceAllow=%v lacks /dev/zfs", side, u["DeviceAllow"])
		}
		// PostgreSQL may be a child, and knows sd_notify too.
		if u.last("Type") != "notify" || u.last("NotifyAccess") != "main" {
			t.Errorf("%s: Type=%s NotifyAccess=%s, want what the sidecar itself tells", side, u.last("Type"), u.last("NotifyAccess"))
		}
		// docs/exit-codes.md promises it.
		if got := u.last("RestartPreventExitStatus"); got != "2 3" || u.last("Restart") != "always" {
			t.Errorf("%s: Restart=%s RestartPreventExitStatus=%s, want always but after 2 and 3", side, u.last("Restart"), got)
		}
		for _, file := range u["EnvironmentFile"] {
			if _, err := os.Stat(filepath.Join("etc", filepath.Base(file))); err != nil || filepath.Dir(file) != "/etc/pgresync" {
				t.Errorf("%s: EnvironmentFile=%s has no example: %v", side, file, err)
			}
		}
	}
}
