package world

import (
	"bytes"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// PIDs are the processes in the node's mount namespace, the holder excepted.
func (n *Node) PIDs() ([]int, error) {
	want, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", n.holder.PID()))
	if err != nil {
		return nil, fmt.Errorf("namespaces of %s: %w", n.Name, err)
	}
	links, err := filepath.Glob("/proc/[0-9]*/ns/mnt")
	if err != nil {
		return nil, err
	}
	var out []int
	for _, l := range links {
		if got, err := os.Readlink(l); err != nil || got != want {
			continue // ended meanwhile, or somewhere else
		}
		pid, err := strconv.Atoi(strings.Split(l, "/")[2])
		if err == nil && pid != n.holder.PID() && !zombie(pid) {
			out = append(out, pid)
		}
	}
	return out, nil
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(stat, ')')
	return err != nil || i < 0 || len(stat) < i+3 || stat[i+2] == 'Z'
}

// Find lists the processes of the node whose argument list begins with argv, the
// program's directory aside.
func (n *Node) Find(argv ...string) ([]int, error) {
	pids, err := n.PIDs()
	if err != nil {
		return nil, err
	}
	var out []int
	for _, pid := range pids {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue // ended meanwhile
		}
		args := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
		args[0] = filepath.Base(args[0])
		if len(args) >= len(argv) && strings.Join(args[:len(argv)], "\x00") == strings.Join(argv, "\x00") {
			out = append(out, pid)
		}
	}
	return out, nil
}

func postgresIDs() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, fmt.Errorf("PostgreSQL's user: %w", err)
	}
	if uid, err = strconv.Atoi(u.Uid); err != nil {
		return 0, 0, err
	}
	gid, err = strconv.Atoi(u.Gid)
	return uid, gid, err
}
