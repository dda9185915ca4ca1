package zfsops

import (
	"context"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// SnapshotProperties reads user properties of d's own snapshots whose source is
// local; without keys all of them. A snapshot that has none is not in the map.
func (z *ZFS) SnapshotProperties(ctx context.Context, d messages.Dataset, keys ...string) (map[messages.SnapshotName]map[string]string, error) {
	a := on("read properties of the snapshots of", d)
	if err := checkName(string(d)); err != nil {
		return nil, err
	}
	want := "all"
	if len(keys) > 0 {
		for _, key := range keys {
			if err := checkKey(key); err != nil {
				return nil, a.wrap(err)
			}
		}
		want = strings.Join(keys, ",")
	}
	out, err := z.output(ctx, a, "get", "-Hp", "-d", "1", "-t", "snapshot", "-s", sourceLocal, "-o", "name,property,value,source", want, string(d))
	if err != nil {
		return nil, err
	}
	rows, err := parseProperties(out)
	if err != nil {
		return nil, a.wrap(err)
	}
	got := map[messages.SnapshotName]map[string]string{}
	for _, r := range rows {
		n := messages.SnapshotName(r.name)
		if !r.local() || !strings.Contains(r.key, ":") || n.Dataset() != d {
			continue
		}
		if got[n] == nil {
			got[n] = map[string]string{}
		}
		got[n][r.key] = r.value.value
	}
	return got, nil
}

// notCarried are the properties that can be set only when a file system is
// created and are a clone's by birth, that belong to an encryption root, or that
// need more than the ordinary privileges (zfsprops(7), OpenZFS 2.3).
var notCarried = map[string]bool{
	"casesensitivity": true, "normalization": true, "utf8only": true, "version": true,
	"encryption": true, "keyformat": true, "keylocation": true, "pbkdf2iters": true,
	"volsize": true, "volblocksize": true, "volthreading": true, "mlslabel": true,
}

// LocalProperties reads the native and foreign user properties that were set on
// d itself, locally or by a receive, and that can be set again on a clone.
// pgresync's own marks are left out: they belong to one dataset.
func (z *ZFS) LocalProperties(ctx context.Context, d messages.Dataset) (map[string]string, error) {
	a := on("read properties of", d)
	if err := checkName(string(d)); err != nil {
		return nil, err
	}
	out, err := z.output(ctx, a, "get", "-Hp", "-s", "local,received", "-o", "name,property,value,source", "all", string(d))
	if err != nil {
		return nil, err
	}
	rows, err := parseProperties(out)
	if err != nil {
		return nil, a.wrap(err)
	}
	props := map[string]string{}
	for _, r := range rows {
		if !notCarried[r.key] && !strings.HasPrefix(r.key, markPrefix) && (r.local() || r.source == "received") {
			props[r.key] = r.value.value
		}
	}
	return props, nil
}

// SetProperties sets all of props with one command. It does not mount d: where
// OpenZFS can change a mount point without mounting (2.2), and d is not
// mounted, it is asked to. On 2.1 changing a mount point from none or legacy to
// a path mounts d if its canmount is on.
func (z *ZFS) SetProperties(ctx context.Context, d messages.Dataset, props map[string]string) error {
	a := on("set properties of", d)
	args := []string{"set"}
	if _, moves := props["mountpoint"]; moves && z.capabilities().SetUnmounted {
		got, err := z.get(ctx, a, "mounted")
		if err != nil {
			return err
		}
		if got["mounted"].value == "no" {
			args = append(args, "-u")
		}
	}
	return z.set(ctx, a, args, props)
}

// SetSnapshotProperties sets user properties of one snapshot.
func (z *ZFS) SetSnapshotProperties(ctx context.Context, s messages.SnapshotName, props map[string]string) error {
	if err := isSnapshot(s); err != nil {
		return err
	}
	return z.set(ctx, on("set properties of", s), []string{"set"}, props)
}

func (z *ZFS) set(ctx context.Context, a act, args []string, props map[string]string) error {
	if err := checkName(a.object); err != nil {
		return err
	}
	pairs, err := assignments("", props)
	if err != nil || len(pairs) == 0 {
		return a.wrap(err)
	}
	return z.run(ctx, a, append(append(args, pairs...), a.object)...)
}

// InheritProperty clears a property of d, so that it has its parent's value, or
// its default, again. It is no error if it was not set.
func (z *ZFS) InheritProperty(ctx context.Context, d messages.Dataset, key string) error {
	a := on("clear property "+key+" of", d)
	if err := checkName(string(d)); err != nil {
		return err
	}
	if err := checkKey(key); err != nil {
		return a.wrap(err)
	}
	return z.run(ctx, a, "inherit", key, string(d))
}
