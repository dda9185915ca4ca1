package zfstest

import (
	"bytes"
	"errors"
	"io"

	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// lineage is what received datasets get.
var lineage = with(ours, "mountpoint", "none", "readonly", "on", "canmount", "noauto")

var streamTests = map[string]func(*T){
	"full, then increments from a snapshot and from a bookmark": func(t *T) {
		from, to := t.data("from here"), t.Root.Child("to there")
		t.Write(t, from, 300*kib)
		first := t.snap(from)
		ok(t, t.transfer(t.spec(first, ""), to, lineage, -1))
		t.Write(t, from, 200*kib)
		second := t.snap(from)
		ok(t, t.transfer(t.spec(second, first), to, nil, -1))

		ok(t, t.ZFS.Bookmark(t.Context(), second, second.Short()))
		mark := messages.SnapshotName(string(from) + "#" + second.Short())
		spec := messages.SendSpec{Base: mark, From: t.guid(mark), Flags: messages.FlagsPlain}
		ok(t, t.ZFS.DestroySnapshot(t.Context(), second))
		t.Write(t, from, 100*kib)
		third := t.snap(from)
		spec.Target, spec.To = third, t.guid(third)
		ok(t, t.transfer(spec, to, nil, -1))

		info := t.info(to)
		diff(t, info.Marks, ours)
		if info.Mounted || !info.ReadOnly || info.Token != "" {
			t.Fatalf("got %+v", info)
		}
		var got []messages.GUID
		for _, s := range t.history(to) {
			got = append(got, s.GUID)
		}
		diff(t, got, []messages.GUID{t.guid(first), spec.From, spec.To})
		diff(t, t.contentOf(to.Snapshot(third.Short())), t.Content(t, from))
	},
	"an estimate is near the truth": func(t *T) {
		d := t.data("d")
		t.Write(t, d, 1*mib)
		first := t.snap(d)
		full, err := t.ZFS.Estimate(t.Context(), t.spec(first, ""))
		ok(t, err)
		t.Write(t, d, 100*kib)
		step, err := t.ZFS.Estimate(t.Context(), t.spec(t.snap(d), first))
		ok(t, err)
		if full < 1*mib || full > 2*mib || step < 50*kib || step > 500*kib {
			t.Fatalf("got %d and %d", full, step)
		}
	},
	"an increment on an older base becomes a branch": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		t.Write(t, from, 100*kib)
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		t.Write(t, from, 100*kib)
		abandoned := t.snap(from)
		ok(t, t.transfer(t.spec(abandoned, base), to, nil, -1))
		t.Write(t, from, 100*kib)
		spec := t.spec(t.snap(from), base)
		wantErr(t, t.transfer(spec, to, nil, -1), messages.ErrExists)
		diff(t, len(t.history(to)), 2)
		branch := t.Root.Child("branch")
		ok(t, t.transfer(spec, branch, lineage, -1))
		// ZFS takes any snapshot with the base's GUID that it finds near.
		diff(t, t.guid(t.info(branch).Origin), spec.From)
		diff(t, t.contentOf(branch.Snapshot(spec.Target.Short())), t.Content(t, from))
	},
	"what was written by others stops a receive": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		t.Write(t, from, 100*kib)
		base := t.snap(from)
		spec := t.spec(base, "")
		set := with(lineage, "readonly", "off", "mountpoint", t.TempDir()+"/to")
		ok(t, t.transfer(spec, to, set, -1))
		wantErr(t, t.transfer(spec, to, set, -1), messages.ErrExists)
		t.mount(to)
		t.Write(t, to, 100*kib)
		ok(t, t.ZFS.Unmount(t.Context(), to))
		t.Write(t, from, 100*kib)
		wantErr(t, t.transfer(t.spec(t.snap(from), base), to, nil, -1), messages.ErrExists)
		diff(t, len(t.history(to)), 1)
	},
	"a foreign snapshot without a change stays and does not stop an increment": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		foreign := to.Snapshot("foreign")
		t.Tool(t, "snapshot", string(foreign))
		t.Write(t, from, 100*kib)
		target := t.snap(from)
		ok(t, t.transfer(t.spec(target, base), to, nil, -1))
		diff(t, len(t.history(to)), 3)
		diff(t, t.history(to)[1].Name, foreign)
		diff(t, t.contentOf(to.Snapshot(target.Short())), t.Content(t, from))
	},
	"a property that could not be set is not passed over in silence": func(t *T) {
		d := t.data("d")
		t.Write(t, d, 100*kib)
		spec := t.spec(t.snap(d), "")
		z := t.Unprivileged(t)
		r, err := z.Send(t.Context(), spec)
		ok(t, err)
		defer r.Close()
		err = z.Receive(t.Context(), receiveOf(t.Root.Child("to"), spec), r)
		wantErr(t, err, messages.ErrPermission)
		diff(t, len(t.history(t.Root.Child("to"))), 1)
	},
	"a branch prefers an origin that is ours": func(t *T) {
		from, to := t.data("a foreign one"), t.Root.Child("ours")
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		branch := t.Root.Child("branch")
		ok(t, t.transfer(t.spec(t.snap(from), base), branch, lineage, -1))
		diff(t, t.info(branch).Origin, to.Snapshot(base.Short()))
	},
	"a base that the receiver lacks is not found": func(t *T) {
		from := t.data("from")
		base := t.snap(from)
		t.Write(t, from, 100*kib)
		spec := t.spec(t.snap(from), base)
		r, err := t.ZFS.Send(t.Context(), spec)
		ok(t, err)
		stream, err := io.ReadAll(r)
		ok(t, errors.Join(err, r.Close()))
		ok(t, t.ZFS.DestroySnapshot(t.Context(), base))
		err = t.ZFS.Receive(t.Context(), receiveOf(t.Root.Child("to"), spec), bytes.NewReader(stream))
		wantErr(t, err, messages.ErrNotFound)
	},
	"send refuses other snapshots than the ones meant": func(t *T) {
		d := t.data("d")
		base, target := t.snap(d), t.snap(d)
		for what, edit := range map[string]func(*messages.SendSpec){
			"another target": func(s *messages.SendSpec) { s.To++ },
			"another base":   func(s *messages.SendSpec) { s.From++ },
			"no target":      func(s *messages.SendSpec) { s.Target = d.Snapshot("gone") },
			"no base":        func(s *messages.SendSpec) { s.Base = d.Snapshot("gone") },
			"no dataset":     func(s *messages.SendSpec) { s.Target = t.Root.Child("gone").Snapshot("x") },
		} {
			spec := t.spec(target, base)
			edit(&spec)
			if _, err := t.ZFS.Send(t.Context(), spec); !errors.Is(err, messages.ErrNotFound) {
				t.Errorf("%s: got %v", what, err)
			}
			if _, err := t.ZFS.Estimate(t.Context(), spec); !errors.Is(err, messages.ErrNotFound) {
				t.Errorf("estimate, %s: got %v", what, err)
			}
		}
	},
	"a closed send leaves no process behind": func(t *T) {
		d := t.data("d")
		t.Write(t, d, 4*mib)
		r, err := t.ZFS.Send(t.Context(), t.spec(t.snap(d), ""))
		ok(t, err)
		_, err = io.CopyN(io.Discard, r, 100*kib)
		ok(t, errors.Join(err, r.Close()))
		if _, err := io.ReadAll(r); err == nil {
			t.Fatal("a stream that was not read to its end ended well")
		}
	},
	"a stream that was not announced never reaches zfs": func(t *T) {
		d := t.data("d")
		spec := t.spec(t.snap(d), "")
		r, err := t.ZFS.Send(t.Context(), spec)
		ok(t, err)
		stream, err := io.ReadAll(r)
		ok(t, errors.Join(err, r.Close()))
		// There is no zfs to be started: only a refusal before that is possible.
		z := zfsops.New(zfsops.Options{ZFS: "/nonexistent"})
		other, increment := receiveOf(t.Root.Child("to"), spec), receiveOf(t.Root.Child("to"), spec)
		other.To++
		increment.From = 7
		wantErr(t, z.Receive(t.Context(), other, bytes.NewReader(stream)), messages.ErrStreamMismatch)
		wantErr(t, z.Receive(t.Context(), increment, bytes.NewReader(stream)), messages.ErrStreamMismatch)
		garbage := bytes.Repeat([]byte("x"), 1000)
		wantErr(t, z.Receive(t.Context(), receiveOf(t.Root.Child("to"), spec), bytes.NewReader(garbage)), messages.ErrStreamMismatch)
		err = z.Receive(t.Context(), receiveOf(t.Root.Child("to"), spec), bytes.NewReader(stream[:100]))
		wantErr(t, err, messages.ErrStreamCut)
		wantErr(t, err, io.ErrUnexpectedEOF)
	},
	"data behind the end of a stream is reported": func(t *T) {
		d := t.data("d")
		spec := t.spec(t.snap(d), "")
		r, err := t.ZFS.Send(t.Context(), spec)
		ok(t, err)
		defer r.Close()
		failing := io.MultiReader(r, &cut{bytes.NewReader(nil), errCut})
		err = t.ZFS.Receive(t.Context(), receiveOf(t.Root.Child("to"), spec), failing)
		wantErr(t, err, errCut)
	},
}

func receiveOf(into messages.Dataset, s messages.SendSpec) messages.ReceiveSpec {
	return messages.ReceiveSpec{Into: into, Snapshot: s.Target.Short(), To: s.To, From: s.From, Set: lineage}
}

var resumeTests = map[string]func(*T){
	"a cut full receive is resumed by its token": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		t.Write(t, from, 6*mib)
		spec := t.spec(t.snap(from), "")
		resume(t, spec, to)
		diff(t, t.contentOf(to.Snapshot(spec.Target.Short())), t.Content(t, from))
		diff(t, t.info(to).Marks, ours)
	},
	"a cut increment is resumed by its token": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		t.Write(t, from, 100*kib)
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		t.Write(t, from, 6*mib)
		spec := t.spec(t.snap(from), base)
		resume(t, spec, to)
		diff(t, t.contentOf(to.Snapshot(spec.Target.Short())), t.Content(t, from))
	},
	"a cut branch is resumed by its token": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		t.Write(t, from, 6*mib)
		spec := t.spec(t.snap(from), base)
		branch := t.Root.Child("branch")
		resume(t, spec, branch)
		diff(t, t.contentOf(branch.Snapshot(spec.Target.Short())), t.Content(t, from))
	},
	"an early end is a cut even without an error": func(t *T) {
		from := t.data("from")
		t.Write(t, from, 6*mib)
		spec := t.spec(t.snap(from), "")
		r, err := t.ZFS.Send(t.Context(), spec)
		ok(t, err)
		defer r.Close()
		wantErr(t, t.ZFS.Receive(t.Context(), receiveOf(t.Root.Child("to"), spec), io.LimitReader(r, 3*mib)), messages.ErrStreamCut)
		if t.info(t.Root.Child("to")).Token == "" {
			t.Fatal("no token")
		}
	},
	"a partial receive blocks others until it is aborted": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		ok(t, t.ZFS.SetProperties(t.Context(), t.Root, ours))
		t.Write(t, from, 100*kib)
		base := t.snap(from)
		ok(t, t.transfer(t.spec(base, ""), to, lineage, -1))
		t.Write(t, from, 6*mib)
		first := t.spec(t.snap(from), base)
		wantErr(t, t.transfer(first, to, nil, 3*mib), messages.ErrStreamCut)
		second := t.spec(t.snap(from), base)
		wantErr(t, t.transfer(second, to, nil, -1), messages.ErrBusy)
		for range 2 {
			ok(t, t.ZFS.AbortReceive(t.Context(), to))
		}
		ok(t, t.transfer(second, to, nil, -1))

		beginning := t.Root.Child("beginning")
		full := t.spec(second.Target, "")
		wantErr(t, t.transfer(full, beginning, lineage, 3*mib), messages.ErrStreamCut)
		wantErr(t, t.transfer(full, beginning, lineage, -1), messages.ErrBusy)
		for range 2 {
			ok(t, t.ZFS.AbortReceive(t.Context(), beginning))
		}
		_, err := t.ZFS.List(t.Context(), beginning)
		wantErr(t, err, messages.ErrNotFound)
	},
	"a foreign partial receive is left alone": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		t.Write(t, from, 6*mib)
		wantErr(t, t.transfer(t.spec(t.snap(from), ""), to, map[string]string{"mountpoint": "none"}, 3*mib), messages.ErrStreamCut)
		wantErr(t, t.ZFS.AbortReceive(t.Context(), to), messages.ErrNotOurs)
		if t.info(to).Token == "" {
			t.Fatal("it is gone")
		}
	},
	"a hostile token is refused": func(t *T) {
		from, to := t.data("from"), t.Root.Child("to")
		t.Write(t, from, 6*mib)
		spec := t.spec(t.snap(from), "")
		wantErr(t, t.transfer(spec, to, lineage, 3*mib), messages.ErrStreamCut)
		spec.Token = t.info(to).Token
		tok, err := zfsops.ParseToken(spec.Token)
		ok(t, err)
		if tok.Bytes == 0 || tok.ToName != spec.Target || tok.ToGUID != spec.To || !tok.Compressed {
			t.Fatalf("got %+v", tok)
		}
		for what, edit := range map[string]func(*zfsops.Token){
			"another dataset":  func(k *zfsops.Token) { k.ToName = t.Root.Child("secret").Snapshot("x") },
			"another snapshot": func(k *zfsops.Token) { k.ToGUID++ },
			"another base":     func(k *zfsops.Token) { k.FromGUID = 7 },
			"rawness":          func(k *zfsops.Token) { k.Raw = true },
			"a saved receive":  func(k *zfsops.Token) { k.Saved = true },
		} {
			hostile, spec := tok, spec
			edit(&hostile)
			spec.Token = hostile.Encode()
			if _, err := t.ZFS.Send(t.Context(), spec); !errors.Is(err, messages.ErrTokenInvalid) {
				t.Errorf("%s: got %v", what, err)
			}
		}
		for _, garbage := range []messages.ResumeToken{"1-2-3-4", "x", spec.Token[:len(spec.Token)-2], spec.Token + "00"} {
			spec.Token = garbage
			_, err := t.ZFS.Send(t.Context(), spec)
			wantErr(t, err, messages.ErrTokenInvalid)
		}
	},
}

// resume receives s in three pieces: two cuts, with the token's stream each
// time.
func resume(t *T, s messages.SendSpec, to messages.Dataset) {
	t.Helper()
	for range 2 {
		err := t.transfer(s, to, lineage, 2*mib)
		wantErr(t, err, errCut)
		wantErr(t, err, messages.ErrStreamCut)
		before := s.Token
		if s.Token = t.info(to).Token; s.Token == "" || s.Token == before {
			t.Fatalf("token %q", s.Token)
		}
	}
	estimate, err := t.ZFS.Estimate(t.Context(), s)
	ok(t, err)
	if estimate == 0 || estimate > 5*mib {
		t.Fatalf("%d bytes are left of 6 MiB after twice 2 MiB", estimate)
	}
	ok(t, t.transfer(s, to, lineage, -1))
	if t.info(to).Token != "" || t.guid(to.Snapshot(s.Target.Short())) != s.To {
		t.Fatalf("got %+v", t.info(to))
	}
}
