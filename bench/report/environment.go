package report

import (
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Environment describes the machine and the build, as far as Linux tells.
func Environment() map[string]string {
	env := map[string]string{
		"go": runtime.Version(), "cores": strconv.Itoa(runtime.NumCPU()),
		"processor": field("/proc/cpuinfo", "model name"), "memory": field("/proc/meminfo", "MemTotal"),
		"kernel": first("/proc/sys/kernel/osrelease"),
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			if strings.HasPrefix(m.Path, "github.com/nats-io/nats") {
				env[m.Path[len("github.com/nats-io/"):]] = m.Version
			}
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				env["revision"] = s.Value
			}
		}
	}
	return env
}

// field is the text after the first "name :" of a file, "" when there is none.
func field(path, name string) string {
	body, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(body)) {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func first(path string) string {
	body, _ := os.ReadFile(path) // empty when it is not there
	return strings.TrimSpace(string(body))
}
