package secondary

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// parameters sees to it, while the old copy still runs, that PostgreSQL will not
// refuse the new one for a parameter that is lower than the primary's: a kept
// postgresql.conf is this node's, not the primary's (I-12).
func (s *Service) parameters(ctx context.Context, m *messages.Manifest, setup messages.StandbySetup) error {
	if len(m.Settings) == 0 {
		return nil
	}
	have, err := s.pg.Configured(ctx, setup, slices.Sorted(maps.Keys(m.Settings)))
	switch {
	case errors.Is(err, messages.ErrNotFound) && s.journal().HandOver:
		return nil // whoever asked for the copy brings its configuration
	case errors.Is(err, messages.ErrNotFound):
		return incurable(err, "set PGRESYNC_PG_CONFIG_FILE to this node's postgresql.conf, or put one where PGRESYNC_KEEP_FILES finds it, then: "+s.triggerCommand())
	case err != nil:
		return err
	}
	low := plan.TooLow(have, m.Settings)
	if len(low) == 0 {
		return nil
	}
	text := plan.Shortfall(have, low)
	if s.cfg.LowSettings == plan.SettingsRefuse {
		return incurable(fmt.Errorf("parameters of %s: %w: %s", s.cfg.Node, messages.ErrRefused, text),
			"raise them here, or let PGRESYNC_LOW_SETTINGS=raise do it, then trigger a resync")
	}
	s.log.Warn().Str("parameters", text).Msg("parameters are raised to the primary's values: PostgreSQL would not start")
	setup.Settings = maps.Clone(setup.Settings)
	if setup.Settings == nil {
		setup.Settings = map[string]string{}
	}
	for name, v := range low {
		setup.Settings[name] = fmt.Sprint(v)
	}
	return s.pg.Prepare(ctx, setup)
}
