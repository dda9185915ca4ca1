package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/pgresync/pgresync/bench/report"
	"github.com/pgresync/pgresync/e2e/world"
)

// wrapped runs `cost FILE NAME COMMAND...`: the command as it is, and a line in
// the file of what it and its children took (wait4(2)).
func wrapped(ctx context.Context, args []string) error {
	if len(args) < 3 {
		return errors.New("usage: cost FILE NAME COMMAND [ARG]")
	}
	cmd := exec.CommandContext(ctx, args[2], args[3:]...) //nolint:gosec // to run what it is told is what it is for
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	if cmd.ProcessState == nil {
		return err
	}
	return errors.Join(err, note(args[0], args[1], cmd.ProcessState))
}

func note(path, name string, state *os.ProcessState) (err error) {
	p := report.Process{Name: name, CPU: (state.UserTime() + state.SystemTime()).Seconds()}
	if usage, ok := state.SysUsage().(*syscall.Rusage); ok {
		p.RSS = float64(usage.Maxrss) / 1024
	}
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// costs is where wrapped commands leave what they took.
func (c *comparison) costs() string { return filepath.Join(c.out, "costs.json") }

// as begins a shell command whose cost is booked under the name.
func (c *comparison) as(name string) string {
	return fmt.Sprintf("%s/bench-lab cost %s %s ", c.bin, c.costs(), name)
}

// costing is a command of PostgreSQL's user whose cost is booked under the name.
func (c *comparison) costing(name string, argv ...string) []string {
	return append([]string{filepath.Join(c.bin, "bench-lab"), "cost", c.costs(), name}, world.AsPostgres(argv...)...)
}

// booked takes the costs that have been left, one for each name: seconds add up,
// and the greatest peak counts.
func (c *comparison) booked() (out []report.Process, err error) {
	body, err := os.ReadFile(c.costs())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(body)) {
		var p report.Process
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			return nil, fmt.Errorf("costs %s: %w", c.costs(), err)
		}
		out = add(out, p)
	}
	return out, os.Remove(c.costs())
}

func add(list []report.Process, p report.Process) []report.Process {
	for i := range list {
		if list[i].Name == p.Name {
			list[i].CPU += p.CPU
			list[i].RSS = max(list[i].RSS, p.RSS)
			return list
		}
	}
	return append(list, p)
}

// running is what a process that still runs has cost so far, its ended children
// included (proc(5)).
func running(name string, pid int) report.Process {
	p := report.Process{Name: name}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid)) // it has ended: zero
	for l := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(l, "VmHWM:"); ok {
			_, _ = fmt.Sscan(v, &p.RSS)
			p.RSS /= 1024
		}
	}
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if _, rest, ok := strings.Cut(string(stat), ") "); ok {
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			if f := strings.Fields(rest); len(f) > i {
				ticks, _ := strconv.ParseFloat(f[i], 64)
				p.CPU += ticks / 100
			}
		}
	}
	return p
}
