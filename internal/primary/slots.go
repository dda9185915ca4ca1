package primary

import (
	"context"
	"errors"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// SlotDropper is what SlotUpkeep asks of the local PostgreSQL.
type SlotDropper interface {
	SlotUses(ctx context.Context) ([]messages.SlotUse, error)
	DropSlot(ctx context.Context, name string) error
}

// SlotUpkeep drops the slots that nobody uses, whatever role the node has and whether
// or not NATS is there: a former primary keeps the slots of those that followed it,
// and a slot pins WAL on a standby as well (I-9). One that a cascading standby uses is
// in use.
type SlotUpkeep struct {
	slots  SlotDropper
	policy plan.SlotPolicy
	now    Clock
	log    zerolog.Logger

	idle map[string]plan.IdleSlot
}

// NewSlotUpkeep keeps no time but that of its own life: it is to live as long as the
// process does.
func NewSlotUpkeep(cfg Config, slots SlotDropper, now Clock, log zerolog.Logger) *SlotUpkeep {
	return &SlotUpkeep{slots: slots, policy: plan.SlotPolicy{Idle: cfg.SlotExpiry, Xmin: cfg.SlotXminExpiry}, now: now, log: log}
}

// Run looks every minute until ctx is done.
func (u *SlotUpkeep) Run(ctx context.Context) error {
	return minutely(ctx, u.once, &complaint{log: u.log, about: "unused slots looked for"})
}

// once ends what slots hold back in the name of standbys that do not come: WAL, and
// by hot_standby_feedback the horizon of vacuum.
func (u *SlotUpkeep) once(ctx context.Context) error {
	slots, err := u.slots.SlotUses(ctx)
	if err != nil {
		return err
	}
	var drop []messages.SlotUse
	drop, u.idle = plan.AbandonedSlots(slots, u.idle, u.policy, u.now())
	var errs []error
	for _, sl := range drop {
		err := u.slots.DropSlot(ctx, sl.Name)
		if errors.Is(err, messages.ErrBusy) {
			continue // used again this moment
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		u.log.Warn().Str("slot", sl.Name).Stringer("restart_lsn", sl.RestartLSN).Bool("held_xmin", sl.HoldsXmin).
			Time("unused_since", u.idle[sl.Name].Since).Msg("abandoned slot dropped")
		// One made again under this name has a time of its own.
		delete(u.idle, sl.Name)
	}
	return errors.Join(errs...)
}
