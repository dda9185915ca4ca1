// Package zfsops is the adapter to OpenZFS: it runs the zfs and zpool commands
// and turns what they print into values of package messages. The floor is
// OpenZFS 2.1, whose portable interface is the tab-separated output of -Hp;
// numbers are exact and names may contain spaces.
//
// Nothing here decides what to replicate. What it does hold is the safety of
// single acts: nothing is destroyed that does not carry pgresync's mark, nothing
// is received that was not announced, and no receive, destroy or unmount is
// forced.
package zfsops

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// Options say how to reach the commands; the zero value finds them by itself.
type Options struct {
	// ZFS and Zpool are paths of the programs; "" looks them up in PATH, then in
	// the system's sbin directories.
	ZFS, Zpool string
	// Env is added to the children's minimal environment.
	Env []string
	// Credential is the operating system user to run them as; nil is our own.
	Credential *command.Credential
	// Via runs the programs instead of this process; it finds them by their names.
	Via command.Executor
}

// ZFS runs zfs commands. It is safe for concurrent use; it holds no lock over
// datasets, so two acts on one dataset are ordered by the caller.
type ZFS struct {
	opts Options
	caps atomic.Pointer[Capabilities]
}

// New does not run anything; Probe tells whether ZFS is usable.
func New(opts Options) *ZFS {
	if opts.Via != nil {
		opts.ZFS, opts.Zpool = "zfs", "zpool"
	} else {
		opts.ZFS, opts.Zpool = program(opts.ZFS, "zfs"), program(opts.Zpool, "zpool")
	}
	return &ZFS{opts: opts}
}

func program(path, name string) string {
	if path != "" {
		return path
	}
	if found, err := command.LookPath(name); err == nil {
		return found
	}
	return name // the error of starting it says that it is missing
}

func (z *ZFS) command(path string, args ...string) command.Command {
	return command.Command{Path: path, Args: args, Env: z.opts.Env, Credential: z.opts.Credential, Via: z.opts.Via}
}

// act is what is being done, to what: the first half of every error.
type act struct{ op, object string }

func on[T ~string](op string, object T) act { return act{op, string(object)} }

func (z *ZFS) run(ctx context.Context, a act, args ...string) error {
	return a.failed(z.command(z.opts.ZFS, args...).Run(ctx))
}

func (z *ZFS) output(ctx context.Context, a act, args ...string) ([]byte, error) {
	out, err := z.command(z.opts.ZFS, args...).Output(ctx)
	return out, a.failed(err)
}

// value is one property of one object.
type value struct{ value, source string }

func (v value) local() bool { return v.source == sourceLocal }

const sourceLocal = "local"

// get reads properties of one dataset, snapshot or bookmark.
func (z *ZFS) get(ctx context.Context, a act, keys ...string) (map[string]value, error) {
	if err := checkName(a.object); err != nil {
		return nil, err
	}
	out, err := z.output(ctx, a, "get", "-Hp", "-o", "name,property,value,source", strings.Join(keys, ","), a.object)
	if err != nil {
		return nil, err
	}
	rows, err := parseProperties(out)
	if err != nil {
		return nil, a.wrap(err)
	}
	got := make(map[string]value, len(rows))
	for _, r := range rows {
		got[r.key] = r.value
	}
	return got, nil
}

// guid is the identity of what bears the name now.
func (z *ZFS) guid(ctx context.Context, op string, n messages.SnapshotName) (messages.GUID, error) {
	a := on(op, n)
	got, err := z.get(ctx, a, "guid")
	if err != nil {
		return 0, err
	}
	g, err := messages.ParseGUID(got["guid"].value)
	return g, a.wrap(err)
}

// checkName refuses what the zfs command would read as something else than one
// name: an option, or one of destroy's "@a,b" and "@a%b" lists.
func checkName(names ...string) error {
	for _, n := range names {
		var err error
		if strings.ContainsAny(n, "@#") {
			_, err = messages.ParseSnapshotName(n)
		} else {
			_, err = messages.ParseDataset(n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func isSnapshot(n messages.SnapshotName) error {
	if n.IsBookmark() {
		return fmt.Errorf("%s: a bookmark, want a snapshot", n)
	}
	return checkName(string(n))
}

var errKey = errors.New("want lower case letters, digits and any of ':', '.', '_', '-', beginning with a letter or digit")

func checkKey(key string) error {
	const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789"
	if key == "" || !strings.Contains(alphabet, key[:1]) || strings.Trim(key, alphabet+":._-") != "" {
		return fmt.Errorf("property name %q: %w", key, errKey)
	}
	return nil
}

// assignments are "key=value" arguments in the order of their keys, each behind
// flag if that is not "".
func assignments(flag string, props map[string]string) ([]string, error) {
	var args []string
	for _, key := range slices.Sorted(maps.Keys(props)) {
		if err := checkKey(key); err != nil {
			return nil, err
		}
		if strings.ContainsRune(props[key], 0) {
			return nil, fmt.Errorf("property %s: the value contains a NUL byte", key)
		}
		if flag != "" {
			args = append(args, flag)
		}
		args = append(args, key+"="+props[key])
	}
	return args, nil
}
