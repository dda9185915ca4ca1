package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/pgresync/pgresync/e2e/world"
)

const (
	scale     = 1
	documents = 24 << 20
)

// stage is the world that the tests share: building it takes longer than most of
// them.
type stage struct {
	w             *world.World
	db1, db2, db3 *world.Node
	primary       *world.Process
	secondary     map[*world.Node]*world.Process
	load          *world.Process
	follower      *world.Process
	foreign       map[*world.Node]string
	out           string
}

func newStage(t testing.TB) *stage {
	t.Helper()
	bin, out := requireLab(t)
	w, err := world.New(t.Context(), world.Options{Nodes: []string{"db1", "db2", "db3", "db4"}, Bin: bin, Out: out, Separate: separate(), Tail: tail})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &stage{w: w, db1: w.Node("db1"), db2: w.Node("db2"), db3: w.Node("db3"), secondary: map[*world.Node]*world.Process{}, out: out}
	began := time.Now()
	must(t, s.db1.InitPrimary(t.Context()))
	t.Logf("primary: %s", time.Since(began))
	must(t, s.db1.Fill(t.Context(), scale, documents))
	t.Logf("filled: %s", time.Since(began))
	s.plantForeign(t)
	s.startPrimary(t, nil)
	if s.load, err = s.db1.StartLoad(t.Context(), 5); err != nil {
		t.Fatal(err)
	}
	return s
}

// newPair is a stage of two nodes on which nothing runs yet.
func newPair(t testing.TB, o world.Options) *stage {
	t.Helper()
	o.Nodes, o.Tail = []string{"db1", "db2"}, tail
	o.Bin, o.Out = requireLab(t)
	o.Separate = separate()
	w, err := world.New(t.Context(), o)
	must(t, err)
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return &stage{w: w, db1: w.Node("db1"), db2: w.Node("db2"), secondary: map[*world.Node]*world.Process{}, out: o.Out}
}

// tail shows under -v what the sidecars do, as it happens.
func tail(node, source, line string) {
	if !testing.Verbose() || source != world.Primary && source != world.Secondary {
		return
	}
	f := map[string]any{}
	if json.Unmarshal([]byte(line), &f) != nil {
		fmt.Fprintln(os.Stderr, "       ", node, line)
		return
	}
	switch f["message"] {
	case "resync", "pass complete", "verdict", "zfs send starts", "snapshot ready", "previous copy removed":
	default:
		if f["level"] == "debug" || f["level"] == "info" {
			return
		}
	}
	for _, noise := range []string{"cluster", "node", "sidecar", "why"} {
		delete(f, noise)
	}
	fmt.Fprintln(os.Stderr, "       ", node, f)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *stage) sidecar(t testing.TB, n *world.Node, kind string, env map[string]string) *world.Process {
	t.Helper()
	p, err := n.StartSidecar(t.Context(), kind, env)
	must(t, err)
	return p
}

// startPrimary starts the primary's sidecar, and with it the broker, and waits until
// it publishes.
func (s *stage) startPrimary(t testing.TB, env map[string]string) {
	t.Helper()
	m := len(s.db1.Log(world.Primary))
	s.primary = s.sidecar(t, s.db1, world.Primary, env)
	must(t, world.Until(t.Context(), "the primary sidecar to publish", patience, func(context.Context) (bool, string) {
		return len(s.db1.Logged(world.Primary, m, "publishes now")) > 0, s.primary.String()
	}))
}

// env is what is special about a standby.
func (s *stage) env(n *world.Node) map[string]string {
	if n == s.db3 {
		return world.OtherMounts()
	}
	return nil
}

// ready starts what does not run and waits until all is well.
func (s *stage) ready(t testing.TB) {
	t.Helper()
	if !s.primary.Running() {
		s.startPrimary(t, nil)
	}
	for _, n := range []*world.Node{s.db2, s.db3} {
		if p := s.secondary[n]; p == nil || !p.Running() {
			s.secondary[n] = s.sidecar(t, n, world.Secondary, s.env(n))
		}
	}
	s.atRest(t, 2*patience)
}

// atRest waits until both standbys stream and nothing is under way. It leaves the rows
// to the parts' ends: comparing them again at each beginning took a tenth of the test.
func (s *stage) atRest(t testing.TB, limit time.Duration) {
	t.Helper()
	began := time.Now()
	ctx, cancel := s.alive(t)
	defer cancel()
	must(t, s.w.Streaming(ctx, limit, s.db1, s.db2, s.db3))
	t.Logf("streaming: %s", time.Since(began))
	for _, n := range []*world.Node{s.db2, s.db3} {
		s.idle(t, n, limit)
	}
}

// wellWithin waits until both standbys are at rest and compares their rows with the
// primary's.
func (s *stage) wellWithin(t testing.TB) {
	t.Helper()
	began := time.Now()
	s.atRest(t, patience)
	_, err := s.w.SameRows(t.Context(), patience, s.load, s.db1, s.db2, s.db3)
	must(t, err)
	t.Logf("same rows: %s", time.Since(began))
}

// alive is a context that ends when a sidecar does: nothing comes of waiting then.
func (s *stage) alive(t testing.TB) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	var wg sync.WaitGroup
	for _, p := range []*world.Process{s.primary, s.secondary[s.db2], s.secondary[s.db3]} {
		wg.Go(func() {
			select {
			case <-p.Done():
				cancel(fmt.Errorf("%s ended", p))
			case <-ctx.Done():
			}
		})
	}
	return ctx, func() {
		cancel(nil)
		wg.Wait()
	}
}

// idle waits until the node's machine is at rest.
func (s *stage) idle(t testing.TB, n *world.Node, limit time.Duration) {
	t.Helper()
	must(t, world.Until(t.Context(), n.Name+" to be idle", limit, func(context.Context) (bool, string) {
		p := phase(n)
		return p == "idle", p
	}))
}

// phase is the last one that the node's sidecar logged.
func phase(n *world.Node) string {
	last := ""
	for _, l := range n.Log(world.Secondary) {
		if l.Message == "resync" || l.Message == "journal read" {
			last = l.Str("phase")
		}
	}
	return last
}

// mark is a place in a secondary sidecar's log.
func mark(n *world.Node) int { return len(n.Log(world.Secondary)) }

// until waits for a log line of the secondary after mark.
func (s *stage) until(t testing.TB, n *world.Node, mark int, limit time.Duration, what string, match func(world.Line) bool) world.Line {
	t.Helper()
	var found world.Line
	must(t, world.Until(t.Context(), fmt.Sprintf("%s on %s", what, n.Name), limit, func(context.Context) (bool, string) {
		for _, l := range n.Log(world.Secondary)[mark:] {
			if match(l) {
				found = l
				return true, ""
			}
		}
		return false, "phase " + phase(n)
	}))
	return found
}

// entered matches the transition into a phase.
func entered(phase string) func(world.Line) bool {
	return func(l world.Line) bool { return l.Message == "resync" && l.Str("phase") == phase }
}

// proven matches the end of a resync that went well.
func proven(l world.Line) bool { return l.Message == "resync" && l.Str("on") == "proven" }

// passes are the passes of the node since mark.
func passes(n *world.Node, mark int) []world.Line {
	return n.Logged(world.Secondary, mark, "pass complete")
}
