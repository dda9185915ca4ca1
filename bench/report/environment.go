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

// BusySeconds is the time that all cores together were not idle since the start
// of the machine (proc(5), /proc/stat), time stolen by its host included.
func BusySeconds() (sum float64) {
	const perSecond = 100 // USER_HZ, the same on every Linux that Go runs on
	body, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(body), "\n")
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal guest (in user) guest_nice
		n, err := strconv.ParseFloat(f, 64)
		if err == nil && i != 4 && i != 5 && i < 9 {
			sum += n / perSecond
		}
	}
	return sum
}
