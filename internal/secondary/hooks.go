package secondary

import (
	"context"
	"strconv"

	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Hook is a moment at which an operator's program is run.
type Hook string

// The hooks.
const (
	// HookBeforeStop: PostgreSQL on the old copy is about to be stopped.
	HookBeforeStop Hook = "before-stop"
	// HookAfterRejoin: the new copy has proven that it streams.
	HookAfterRejoin Hook = "after-rejoin"
	// HookOnFailure: a resync did not succeed; what was there before is back.
	HookOnFailure Hook = "on-failure"
)

// Hooks runs an operator's programs, each bounded in time.
type Hooks interface {
	// Run does nothing when no program is configured for the hook.
	Run(ctx context.Context, h Hook, facts map[string]string) error
}

// hook runs a program, whose failure is reported and changes nothing: a resync
// must not hang on a notification.
func (s *Service) hook(ctx context.Context, h Hook, j resync.Journal) {
	if err := s.hooks.Run(ctx, h, s.hookFacts(h, j)); err != nil {
		s.log.Warn().Err(err).Str("hook", string(h)).Msg("hook failed; the resync goes on")
	}
}

func (s *Service) hookFacts(h Hook, j resync.Journal) map[string]string {
	return map[string]string{
		"PGRESYNC_HOOK": string(h), "PGRESYNC_CLUSTER": string(s.cfg.Cluster), "PGRESYNC_NODE": string(s.cfg.Node),
		"PGRESYNC_DATASET": string(s.cfg.Dataset), "PGRESYNC_RESYNC": string(j.ID), "PGRESYNC_PHASE": string(j.Phase),
		"PGRESYNC_REASON": string(j.Reason), "PGRESYNC_EVIDENCE": j.Evidence, "PGRESYNC_SNAPSHOT": string(j.Snapshot),
		"PGRESYNC_ERROR": j.Error, "PGRESYNC_REMEDY": j.Remedy, "PGRESYNC_DOWN_MS": strconv.FormatInt(j.DownMillis, 10),
	}
}

// hooksAfter runs what a transition calls for, once it is journaled.
func (s *Service) hooksAfter(ctx context.Context, before messages.Phase) {
	j := s.journal()
	switch {
	case before == messages.PhaseProving && j.Phase == messages.PhaseIdle:
		s.hook(ctx, HookAfterRejoin, j)
	case j.Phase == messages.PhaseWaiting, j.Phase == messages.PhaseNeedsOperator:
		s.hook(ctx, HookOnFailure, j)
	}
}
