package secondary

import (
	"context"
	"fmt"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// Status answers an operator who asks how this node is.
func (s *Service) Status(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
	st := s.status()
	reply := s.reply("node %s: PostgreSQL is %s, the resync machine %s", s.cfg.Node, st.Role, st.Phase)
	reply.Status = &st
	return reply, nil
}

// Resync begins a resync of this node, or tells what it would do. A paused node
// refuses, unless the request lifts the pause.
func (s *Service) Resync(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if err := s.isReady(); err != nil {
		return nil, err
	}
	if r.DryRun {
		return s.dryRun(ctx, r)
	}
	if p := s.pausedNow(); p != nil {
		if !r.Resume {
			return nil, incurable(fmt.Errorf("resync node %s: %w: it is paused %s", s.cfg.Node, messages.ErrRefused, p),
				fmt.Sprintf("resume it first: pgresync resume %s, or pgresync resync %s --resume", s.cfg.Node, s.cfg.Node))
		}
		if err := s.resume(ctx, r.By); err != nil {
			return nil, err
		}
	}
	if r.HandOver {
		return s.handOver(ctx, r)
	}
	joins := !resting(s.journal().Phase)
	target := messages.TriggerTarget{Node: s.cfg.Node}
	if r.All {
		target = messages.TriggerTarget{All: true}
	}
	err := s.Trigger(ctx, target, messages.Trigger{V: messages.Version, By: r.By, Reason: r.Reason, Full: r.Full}, s.now())
	if err != nil {
		return nil, err
	}
	j := s.journal()
	reply := s.reply("node %s: resync %s begins", s.cfg.Node, j.ID)
	if joins {
		reply = s.reply("node %s: resync %s is running already", s.cfg.Node, j.ID)
	}
	reply.Resync = j.ID
	return reply, nil
}

// Cleanup does the housekeeping now, and tells what it found.
func (s *Service) Cleanup(ctx context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
	if err := s.isReady(); err != nil {
		return nil, err
	}
	report := &messages.CleanupReport{DryRun: r.DryRun}
	verb := "removed"
	if r.DryRun {
		verb = "would be removed"
	}
	err := s.between(ctx, func(ctx context.Context) (err error) {
		if report.Items, err = s.leftovers(ctx); err != nil || r.DryRun {
			return err
		}
		return s.tidy(ctx)
	})
	if err != nil {
		return nil, fmt.Errorf("clean up node %s: %w", s.cfg.Node, err)
	}
	report.Kept = s.status().Kept
	reply := s.reply("%d things %s, %d datasets wait for their operator", len(report.Items), verb, len(report.Kept))
	reply.Cleanup = report
	return reply, nil
}

// between has the engine run f when no resync runs: it is the only one that acts.
func (s *Service) between(ctx context.Context, f func(ctx context.Context) error) error {
	busy := func() error {
		if j := s.journal(); !resting(j.Phase) {
			return fmt.Errorf("%w: resync %s is %s; ask again when it is done", messages.ErrBusy, j.ID, j.Phase)
		}
		return nil
	}
	if err := busy(); err != nil {
		return err
	}
	done := make(chan error, 1) // the engine never waits for an asker that went away
	select {
	case s.asks <- func(ctx context.Context) {
		if err := busy(); err != nil {
			done <- err
			return
		}
		done <- f(ctx)
	}:
	case <-ctx.Done():
		return fmt.Errorf("%w: the engine is at work", messages.ErrBusy)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("it goes on, but takes long: %w", ctx.Err())
	}
}

// leftovers are what tidy would dispose of.
func (s *Service) leftovers(ctx context.Context) ([]messages.CleanupItem, error) {
	var items []messages.CleanupItem
	add := func(kind, name, why string, args ...any) {
		items = append(items, messages.CleanupItem{Kind: kind, Name: name, Why: fmt.Sprintf(why, args...)})
	}
	for d, why := range map[messages.Dataset]string{s.cfg.next(): "left by a resync that did not end well", s.cfg.old(): "the previous copy; its successor streams"} {
		l, err := s.readTree(ctx, d)
		if err != nil {
			return nil, err
		}
		if l.exists() && (d == s.cfg.next() || s.journal().Proven) {
			add("dataset", string(d), "%s", why)
		}
	}
	branches, err := s.idleBranches(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range branches {
		add("dataset", string(d), "received data that no live copy needs")
	}
	surplus, _, err := s.surplus(ctx)
	if err != nil {
		return nil, err
	}
	for _, old := range surplus {
		if old.Bookmark {
			add("bookmark", string(old.Name), "more than %d are there, or its snapshot is", s.cfg.KeepBases)
			continue
		}
		add("snapshot", string(old.Name), "more than %d passes are there", s.cfg.KeepPasses)
	}
	if err := s.listKept(ctx); err != nil {
		return nil, err
	}
	live, err := s.readLive(ctx)
	if err != nil || live.resync == "" {
		return items, err
	}
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return nil, err
	}
	for _, slot := range f.Slots {
		if slot.Name != messages.SlotName(s.cfg.Node, live.resync) && !slot.Active {
			add("slot", slot.Name, "of an earlier copy of this node")
		}
	}
	return items, nil
}

// idleBranches are those that tend would destroy, without what somebody's clone keeps.
func (s *Service) idleBranches(ctx context.Context) ([]messages.Dataset, error) {
	if !s.tends() {
		return nil, nil
	}
	k, err := s.kin(ctx)
	if err != nil {
		return nil, err
	}
	origins, err := s.origins(ctx)
	if err != nil {
		return nil, err
	}
	var out []messages.Dataset
	for _, branch := range plan.Tend(k).Destroy {
		d := s.cfg.Lineage.Child(branch)
		cloned := false
		for o := range origins {
			_, in := o.Dataset().Rel(d)
			cloned = cloned || in
		}
		if !cloned {
			out = append(out, d)
		}
	}
	return out, nil
}

func (s *Service) reply(format string, args ...any) *messages.OperatorReply {
	return &messages.OperatorReply{
		V: messages.Version, OK: true, Node: s.cfg.Node, Sidecar: messages.SidecarSecondary, Text: fmt.Sprintf(format, args...),
	}
}
