package secondary

import (
	"context"
	"fmt"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// chaseEvery is between two looks at who has the lease while a copy is proven.
const chaseEvery = 2 * time.Second

// chase follows the lease while the new copy is proven: its primary may be deposed
// in that very moment. PostgreSQL goes on under the new one if that has the copy's
// position in its history (recovery_target_timeline is latest). If it has not, the
// copy can never be proven: the error ends the waiting, and the old copy goes back.
func (s *Service) chase(ctx context.Context, m *messages.Manifest, want *plan.Want) error {
	if s.now().Before(s.chaseAt) {
		return nil
	}
	s.chaseAt = s.now().Add(chaseEvery)
	f, err := s.primary.Facts(ctx)
	if err != nil {
		return nil //nolint:nilerr // nobody to follow yet
	}
	id, err := s.db.Identity(ctx)
	if err != nil || id.Role != messages.RoleStandby || !s.misdirected(ctx, plan.Facts{Primary: f, Local: &id}) {
		return nil //nolint:nilerr // it is asked again
	}
	if why := plan.CanFollow(id, f); why != "" {
		return fmt.Errorf("the lease went to %s, which the new copy cannot follow: %s", f.Node, why)
	}
	if _, err := s.primary.Slot(ctx, s.journal().ID, messages.SlotReserve); err != nil {
		s.log.Warn().Err(err).Str("primary", string(f.Node)).Msg("slot for the new copy not reserved yet")
		return nil
	}
	s.follow(ctx)
	*want = s.want(ctx, m)
	return nil
}
