package secondary

import (
	"context"
	"strings"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// misdirected reports whether the running copy, whose connection we wrote, is told
// to stream from another server than the holder of the lease.
func (s *Service) misdirected(ctx context.Context, f plan.Facts) bool {
	if s.follower == nil || hasHost(s.cfg.PrimaryConninfo) || f.Primary == nil ||
		f.Local == nil || f.Local.Role != messages.RoleStandby || f.Primary.Node == s.cfg.Node {
		return false
	}
	lease, _, err := s.primary.Lease(ctx)
	if err != nil {
		return false
	}
	have, err := s.follower.Upstream(ctx)
	if err != nil {
		s.log.Debug().Err(err).Msg("primary_conninfo not read")
		return false
	}
	return !names(have, lease)
}

// names reports whether a connection string of our making leads to the lease's holder.
func names(conninfo string, l messages.Lease) bool {
	for word := range strings.FieldsSeq(address(l)) {
		if !strings.Contains(" "+conninfo+" ", " "+word+" ") {
			return false
		}
	}
	return true
}

// follow points the standby at the holder of the lease. Its slot there has been
// asked for before.
func (s *Service) follow(ctx context.Context) {
	conninfo, err := s.conninfo(ctx)
	if err == nil {
		err = s.follower.Follow(ctx, conninfo)
	}
	if err != nil {
		s.log.Warn().Err(err).Msg("point the standby at the new primary")
		return
	}
	s.log.Info().Msg("the standby follows the new primary")
}
