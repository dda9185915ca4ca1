package zfstest

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/zfsops"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// lineage is what received datasets get.
var lineage = with(ours, "mountpoint", "none", "readonly", "on", "canmount", "noauto")

var streamTests = map[string]func(*testing.T, *Env){
	"full, then increments from a snapshot and from a bookmark": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from here", nil), e.Root.Child("to there")
		e.Write(t, from, 300*kib)
		first := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, first, ""), to, lineage, -1))
		e.Write(t, from, 200*kib)
		second := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, second, first), to, nil, -1))

		ok(t, e.ZFS.Bookmark(t.Context(), second, second.Short()))
		mark := messages.SnapshotName(string(from) + "#" + second.Short())
		spec := messages.SendSpec{Base: mark, From: e.guid(t, mark), Flags: messages.FlagsPlain}
		ok(t, e.ZFS.DestroySnapshot(t.Context(), second))
		e.Write(t, from, 100*kib)
		third := e.snap(t, from)
		spec.Target, spec.To = third, e.guid(t, third)
		ok(t, e.transfer(t, spec, to, nil, -1))

		info := e.info(t, to)
		diff(t, info.Marks, ours)
		if info.Mounted || !info.ReadOnly || info.Token != "" {
			t.Fatalf("got %+v", info)
		}
		var got []messages.GUID
		for _, s := range e.history(t, to) {
			got = append(got, s.GUID)
		}
		diff(t, got, []messages.GUID{e.guid(t, first), spec.From, spec.To})
		diff(t, e.contentOf(t, to.Snapshot(third.Short())), e.Content(t, from))
	},
	"an estimate is near the truth": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		e.Write(t, d, 1*mib)
		first := e.snap(t, d)
		full, err := e.ZFS.Estimate(t.Context(), e.spec(t, first, ""))
		ok(t, err)
		e.Write(t, d, 100*kib)
		step, err := e.ZFS.Estimate(t.Context(), e.spec(t, e.snap(t, d), first))
		ok(t, err)
		if full < 1*mib || full > 2*mib || step < 50*kib || step > 500*kib {
			t.Fatalf("got %d and %d", full, step)
		}
	},
	"an increment on an older base becomes a branch": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		e.Write(t, from, 100*kib)
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		e.Write(t, from, 100*kib)
		abandoned := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, abandoned, base), to, nil, -1))
		e.Write(t, from, 100*kib)
		spec := e.spec(t, e.snap(t, from), base)
		wantErr(t, e.transfer(t, spec, to, nil, -1), messages.ErrExists)
		diff(t, len(e.history(t, to)), 2)
		branch := e.Root.Child("branch")
		ok(t, e.transfer(t, spec, branch, lineage, -1))
		// ZFS takes any snapshot with the base's GUID that it finds near.
		diff(t, e.guid(t, e.info(t, branch).Origin), spec.From)
		diff(t, e.contentOf(t, branch.Snapshot(spec.Target.Short())), e.Content(t, from))
	},
	"what was written by others stops a receive": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		e.Write(t, from, 100*kib)
		base := e.snap(t, from)
		spec := e.spec(t, base, "")
		set := with(lineage, "readonly", "off", "mountpoint", t.TempDir()+"/to")
		ok(t, e.transfer(t, spec, to, set, -1))
		wantErr(t, e.transfer(t, spec, to, set, -1), messages.ErrExists)
		e.mount(t, to)
		e.Write(t, to, 100*kib)
		ok(t, e.ZFS.Unmount(t.Context(), to))
		e.Write(t, from, 100*kib)
		wantErr(t, e.transfer(t, e.spec(t, e.snap(t, from), base), to, nil, -1), messages.ErrExists)
		diff(t, len(e.history(t, to)), 1)
	},
	"a foreign snapshot without a change stays and does not stop an increment": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		foreign := to.Snapshot("foreign")
		e.Tool(t, "snapshot", string(foreign))
		e.Write(t, from, 100*kib)
		target := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, target, base), to, nil, -1))
		diff(t, len(e.history(t, to)), 3)
		diff(t, e.history(t, to)[1].Name, foreign)
		diff(t, e.contentOf(t, to.Snapshot(target.Short())), e.Content(t, from))
	},
	"an increment of a clone from its origin becomes a branch": func(t *testing.T, e *Env) {
		old, to := e.data(t, "old primary", nil), e.Root.Child("to")
		e.Write(t, old, 100*kib)
		base := e.snap(t, old)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		live := e.Root.Child("live")
		ok(t, e.ZFS.Clone(t.Context(), base, live, with(ours, "mountpoint", t.TempDir()+"/live")))
		e.mount(t, live)
		e.Write(t, live, 100*kib)
		spec := e.spec(t, e.snap(t, live), base)
		wantErr(t, e.transfer(t, spec, to, nil, -1), messages.ErrExists)
		branch := e.Root.Child("branch")
		ok(t, e.transfer(t, spec, branch, lineage, -1))
		diff(t, e.guid(t, e.info(t, branch).Origin), spec.From)
		diff(t, e.contentOf(t, branch.Snapshot(spec.Target.Short())), e.Content(t, live))
		// From here on the branch has a history of its own, and increments go on.
		e.Write(t, live, 100*kib)
		next := e.spec(t, e.snap(t, live), spec.Target)
		ok(t, e.transfer(t, next, branch, nil, -1))
		diff(t, len(e.history(t, branch)), 2)
	},
	"a property that could not be set is not passed over in silence": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		e.Write(t, d, 100*kib)
		spec := e.spec(t, e.snap(t, d), "")
		z := e.Unprivileged(t)
		r, err := z.Send(t.Context(), spec)
		ok(t, err)
		defer r.Close()
		err = z.Receive(t.Context(), receiveOf(e.Root.Child("to"), spec), r)
		wantErr(t, err, messages.ErrPermission)
		diff(t, len(e.history(t, e.Root.Child("to"))), 1)
	},
	"a branch prefers an origin that is ours": func(t *testing.T, e *Env) {
		from, to := e.data(t, "a foreign one", nil), e.Root.Child("ours")
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		branch := e.Root.Child("branch")
		ok(t, e.transfer(t, e.spec(t, e.snap(t, from), base), branch, lineage, -1))
		diff(t, e.info(t, branch).Origin, to.Snapshot(base.Short()))
	},
	"a base that the receiver lacks is not found": func(t *testing.T, e *Env) {
		from := e.data(t, "from", nil)
		base := e.snap(t, from)
		e.Write(t, from, 100*kib)
		spec := e.spec(t, e.snap(t, from), base)
		r, err := e.ZFS.Send(t.Context(), spec)
		ok(t, err)
		stream, err := io.ReadAll(r)
		ok(t, errors.Join(err, r.Close()))
		ok(t, e.ZFS.DestroySnapshot(t.Context(), base))
		err = e.ZFS.Receive(t.Context(), receiveOf(e.Root.Child("to"), spec), bytes.NewReader(stream))
		wantErr(t, err, messages.ErrNotFound)
	},
	"send refuses other snapshots than the ones meant": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		base, target := e.snap(t, d), e.snap(t, d)
		for what, edit := range map[string]func(*messages.SendSpec){
			"another target": func(s *messages.SendSpec) { s.To++ },
			"another base":   func(s *messages.SendSpec) { s.From++ },
			"no target":      func(s *messages.SendSpec) { s.Target = d.Snapshot("gone") },
			"no base":        func(s *messages.SendSpec) { s.Base = d.Snapshot("gone") },
			"no dataset":     func(s *messages.SendSpec) { s.Target = e.Root.Child("gone").Snapshot("x") },
		} {
			spec := e.spec(t, target, base)
			edit(&spec)
			if _, err := e.ZFS.Send(t.Context(), spec); !errors.Is(err, messages.ErrNotFound) {
				t.Errorf("%s: got %v", what, err)
			}
			if _, err := e.ZFS.Estimate(t.Context(), spec); !errors.Is(err, messages.ErrNotFound) {
				t.Errorf("estimate, %s: got %v", what, err)
			}
		}
	},
	"a closed send leaves no process behind": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		e.Write(t, d, 4*mib)
		r, err := e.ZFS.Send(t.Context(), e.spec(t, e.snap(t, d), ""))
		ok(t, err)
		_, err = io.CopyN(io.Discard, r, 100*kib)
		ok(t, errors.Join(err, r.Close()))
		if _, err := io.ReadAll(r); err == nil {
			t.Fatal("a stream that was not read to its end ended well")
		}
	},
	"a stream that was not announced never reaches zfs": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		spec := e.spec(t, e.snap(t, d), "")
		r, err := e.ZFS.Send(t.Context(), spec)
		ok(t, err)
		stream, err := io.ReadAll(r)
		ok(t, errors.Join(err, r.Close()))
		// There is no zfs to be started: only a refusal before that is possible.
		z := zfsops.New(zfsops.Options{ZFS: "/nonexistent"})
		other, increment := receiveOf(e.Root.Child("to"), spec), receiveOf(e.Root.Child("to"), spec)
		other.To++
		increment.From = 7
		wantErr(t, z.Receive(t.Context(), other, bytes.NewReader(stream)), messages.ErrStreamMismatch)
		wantErr(t, z.Receive(t.Context(), increment, bytes.NewReader(stream)), messages.ErrStreamMismatch)
		garbage := bytes.Repeat([]byte("x"), 1000)
		wantErr(t, z.Receive(t.Context(), receiveOf(e.Root.Child("to"), spec), bytes.NewReader(garbage)), messages.ErrStreamMismatch)
		err = z.Receive(t.Context(), receiveOf(e.Root.Child("to"), spec), bytes.NewReader(stream[:100]))
		wantErr(t, err, messages.ErrStreamCut)
		wantErr(t, err, io.ErrUnexpectedEOF)
	},
	"data behind the end of a stream is reported": func(t *testing.T, e *Env) {
		d := e.data(t, "d", nil)
		spec := e.spec(t, e.snap(t, d), "")
		r, err := e.ZFS.Send(t.Context(), spec)
		ok(t, err)
		defer r.Close()
		failing := io.MultiReader(r, &cut{bytes.NewReader(nil), errCut})
		err = e.ZFS.Receive(t.Context(), receiveOf(e.Root.Child("to"), spec), failing)
		wantErr(t, err, errCut)
	},
}

func receiveOf(into messages.Dataset, s messages.SendSpec) messages.ReceiveSpec {
	return messages.ReceiveSpec{Into: into, Snapshot: s.Target.Short(), To: s.To, From: s.From, Set: lineage}
}

var resumeTests = map[string]func(*testing.T, *Env){
	"a cut full receive is resumed by its token": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		e.Write(t, from, 6*mib)
		spec := e.spec(t, e.snap(t, from), "")
		resume(t, e, spec, to)
		diff(t, e.contentOf(t, to.Snapshot(spec.Target.Short())), e.Content(t, from))
		diff(t, e.info(t, to).Marks, ours)
	},
	"a cut increment is resumed by its token": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		e.Write(t, from, 100*kib)
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		e.Write(t, from, 6*mib)
		spec := e.spec(t, e.snap(t, from), base)
		resume(t, e, spec, to)
		diff(t, e.contentOf(t, to.Snapshot(spec.Target.Short())), e.Content(t, from))
	},
	"a cut branch is resumed by its token": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		e.Write(t, from, 6*mib)
		spec := e.spec(t, e.snap(t, from), base)
		branch := e.Root.Child("branch")
		resume(t, e, spec, branch)
		diff(t, e.contentOf(t, branch.Snapshot(spec.Target.Short())), e.Content(t, from))
	},
	"an early end is a cut even without an error": func(t *testing.T, e *Env) {
		from := e.data(t, "from", nil)
		e.Write(t, from, 6*mib)
		spec := e.spec(t, e.snap(t, from), "")
		r, err := e.ZFS.Send(t.Context(), spec)
		ok(t, err)
		defer r.Close()
		wantErr(t, e.ZFS.Receive(t.Context(), receiveOf(e.Root.Child("to"), spec), io.LimitReader(r, 3*mib)), messages.ErrStreamCut)
		if e.info(t, e.Root.Child("to")).Token == "" {
			t.Fatal("no token")
		}
	},
	"a partial receive blocks others until it is aborted": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		ok(t, e.ZFS.SetProperties(t.Context(), e.Root, ours))
		e.Write(t, from, 100*kib)
		base := e.snap(t, from)
		ok(t, e.transfer(t, e.spec(t, base, ""), to, lineage, -1))
		e.Write(t, from, 6*mib)
		first := e.spec(t, e.snap(t, from), base)
		wantErr(t, e.transfer(t, first, to, nil, 3*mib), messages.ErrStreamCut)
		second := e.spec(t, e.snap(t, from), base)
		wantErr(t, e.transfer(t, second, to, nil, -1), messages.ErrBusy)
		for range 2 {
			ok(t, e.ZFS.AbortReceive(t.Context(), to))
		}
		ok(t, e.transfer(t, second, to, nil, -1))

		beginning := e.Root.Child("beginning")
		full := e.spec(t, second.Target, "")
		wantErr(t, e.transfer(t, full, beginning, lineage, 3*mib), messages.ErrStreamCut)
		wantErr(t, e.transfer(t, full, beginning, lineage, -1), messages.ErrBusy)
		for range 2 {
			ok(t, e.ZFS.AbortReceive(t.Context(), beginning))
		}
		_, err := e.ZFS.List(t.Context(), beginning)
		wantErr(t, err, messages.ErrNotFound)
	},
	"a foreign partial receive is left alone": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		e.Write(t, from, 6*mib)
		wantErr(t, e.transfer(t, e.spec(t, e.snap(t, from), ""), to, map[string]string{"mountpoint": "none"}, 3*mib), messages.ErrStreamCut)
		wantErr(t, e.ZFS.AbortReceive(t.Context(), to), messages.ErrNotOurs)
		if e.info(t, to).Token == "" {
			t.Fatal("it is gone")
		}
	},
	"a hostile token is refused": func(t *testing.T, e *Env) {
		from, to := e.data(t, "from", nil), e.Root.Child("to")
		e.Write(t, from, 6*mib)
		spec := e.spec(t, e.snap(t, from), "")
		wantErr(t, e.transfer(t, spec, to, lineage, 3*mib), messages.ErrStreamCut)
		spec.Token = e.info(t, to).Token
		tok, err := zfsops.ParseToken(spec.Token)
		ok(t, err)
		if tok.Bytes == 0 || tok.ToName != spec.Target || tok.ToGUID != spec.To || !tok.Compressed {
			t.Fatalf("got %+v", tok)
		}
		for what, edit := range map[string]func(*zfsops.Token){
			"another dataset":  func(k *zfsops.Token) { k.ToName = e.Root.Child("secret").Snapshot("x") },
			"another snapshot": func(k *zfsops.Token) { k.ToGUID++ },
			"another base":     func(k *zfsops.Token) { k.FromGUID = 7 },
			"rawness":          func(k *zfsops.Token) { k.Raw = true },
			"a saved receive":  func(k *zfsops.Token) { k.Saved = true },
		} {
			hostile, spec := tok, spec
			edit(&hostile)
			spec.Token = hostile.Encode()
			if _, err := e.ZFS.Send(t.Context(), spec); !errors.Is(err, messages.ErrTokenInvalid) {
				t.Errorf("%s: got %v", what, err)
			}
		}
		for _, garbage := range []messages.ResumeToken{"1-2-3-4", "x", spec.Token[:len(spec.Token)-2], spec.Token + "00"} {
			spec.Token = garbage
			_, err := e.ZFS.Send(t.Context(), spec)
			wantErr(t, err, messages.ErrTokenInvalid)
		}
	},
}

// resume receives s in three pieces: two cuts, with the token's stream each
// time.
func resume(t *testing.T, e *Env, s messages.SendSpec, to messages.Dataset) {
	t.Helper()
	for range 2 {
		err := e.transfer(t, s, to, lineage, 2*mib)
		wantErr(t, err, errCut)
		wantErr(t, err, messages.ErrStreamCut)
		before := s.Token
		if s.Token = e.info(t, to).Token; s.Token == "" || s.Token == before {
			t.Fatalf("token %q", s.Token)
		}
	}
	estimate, err := e.ZFS.Estimate(t.Context(), s)
	ok(t, err)
	if estimate == 0 || estimate > 5*mib {
		t.Fatalf("%d bytes are left of 6 MiB after twice 2 MiB", estimate)
	}
	ok(t, e.transfer(t, s, to, lineage, -1))
	if e.info(t, to).Token != "" || e.guid(t, to.Snapshot(s.Target.Short())) != s.To {
		t.Fatalf("got %+v", e.info(t, to))
	}
}
