package zfstest

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/pgresync/pgresync/messages"
)

// encrypted makes and mounts an encrypted file system, and returns its key's file.
func (t *T) encrypted(rel messages.RelName) (from messages.Dataset, key string) {
	t.Helper()
	key = filepath.Join(t.TempDir(), "key")
	ok(t, os.WriteFile(key, bytes.Repeat([]byte("k"), 32), 0o600))
	from = t.child(rel, map[string]string{
		"encryption": "on", "keyformat": "raw", "keylocation": "file://" + key, "mountpoint": t.TempDir() + "/m", "atime": "off",
	})
	t.mount(from)
	return from, key
}

// rawTests are about encrypted file systems: their streams are raw, and their keys
// stay where they are.
var rawTests = map[string]func(*T){
	"an encrypted file system travels raw and resumes raw": func(t *T) {
		from, _ := t.encrypted("from")
		t.Write(t, from, 6*mib)
		spec, to := t.spec(t.snap(from), ""), t.Root.Child("to")
		spec.Flags = messages.FlagsRaw
		wantErr(t, t.transfer(spec, to, lineage, 1*mib), messages.ErrStreamCut)
		// A receiver that asks for the rest in the clear gets nothing.
		plain := spec
		plain.Flags, plain.Token = messages.FlagsPlain, t.info(to).Token
		_, err := t.ZFS.Send(t.Context(), plain)
		wantErr(t, err, messages.ErrTokenInvalid)
		spec.Token = plain.Token
		ok(t, t.transfer(spec, to, lineage, -1))
		if i := t.info(to); i.Encryption == "off" || t.guid(to.Snapshot(spec.Target.Short())) != spec.To {
			t.Fatalf("got %+v", i)
		}
		props, err := t.ZFS.LocalProperties(t.Context(), from)
		ok(t, err)
		if props["atime"] != "off" || props["keylocation"] != "" || props["encryption"] != "" {
			t.Fatalf("got %v", props)
		}
	},
	"a raw copy cannot be mounted before its key is loaded, nor continued in the clear": func(t *T) {
		from, key := t.encrypted("from")
		t.Write(t, from, 100*kib)
		raw := func(target, base messages.SnapshotName) messages.SendSpec {
			s := t.spec(target, base)
			s.Flags = messages.FlagsRaw
			return s
		}
		first, to, next := t.snap(from), t.Root.Child("to"), t.Root.Child("next")
		ok(t, t.transfer(raw(first, ""), to, lineage, -1))
		t.Write(t, from, 100*kib)
		second := t.snap(from)
		// The same increment in the clear: refused whatever the chain's flags are said to be.
		for _, flags := range []messages.SendFlags{messages.FlagsPlain, messages.FlagsRaw} {
			plain := t.spec(second, first)
			r, err := t.ZFS.Send(t.Context(), plain)
			ok(t, err)
			into := receiveOf(to, plain)
			into.Flags = flags
			wantErr(t, t.ZFS.Receive(t.Context(), into, r), messages.ErrStreamMismatch)
			_ = r.Close()
		}
		ok(t, t.transfer(raw(second, first), to, nil, -1))
		ok(t, t.ZFS.Clone(t.Context(), to.Snapshot(second.Short()), next, with(ours, "mountpoint", t.TempDir()+"/next")))
		wantErr(t, t.ZFS.Mount(t.Context(), next), messages.ErrKeys)
		t.Tool(t, "load-key", "-L", "file://"+key, string(to))
		ok(t, t.ZFS.Mount(t.Context(), next))
		diff(t, t.Content(t, next), t.Content(t, from))
		ok(t, t.ZFS.Unmount(t.Context(), next))
	},
	"a raw stream does not continue a file system that is not encrypted": func(t *T) {
		from, _ := t.encrypted("from")
		t.Write(t, from, 100*kib)
		first, to := t.snap(from), t.Root.Child("to")
		ok(t, t.transfer(t.spec(first, ""), to, lineage, -1)) // in the clear
		t.Write(t, from, 100*kib)
		spec := t.spec(t.snap(from), first)
		spec.Flags = messages.FlagsRaw
		wantErr(t, t.transfer(spec, to, nil, -1), messages.ErrStreamMismatch)
	},
}
