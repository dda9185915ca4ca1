package secondary

import (
	"context"
	"errors"
	"fmt"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/messages"
)

// starts remembers how starts of the present live copy by us went.
type starts struct {
	failures int
	class    plan.FailureClass
	err      error
}

func (t *starts) note(err error) {
	if err == nil || errors.Is(err, messages.ErrUnavailable) || errors.Is(err, messages.ErrBusy) {
		// It runs and still waits for WAL (PG-8), or somebody else was first.
		return
	}
	t.failures++
	t.class, t.err = failureClass(err), err
}

// failureClass asks the adapter's error what it knows.
func failureClass(err error) plan.FailureClass {
	var reason interface{ StartReason() messages.Reason }
	var cause interface{ DataDamaged() (damaged, known bool) }
	switch {
	case errors.As(err, &reason) && reason.StartReason() == messages.ReasonSettingsTooLow:
		return plan.FailureSettings
	case errors.As(err, &cause):
		damaged, known := cause.DataDamaged()
		if known && damaged {
			return plan.FailureStorage
		}
		if known {
			return plan.FailureOther
		}
	}
	return plan.FailureUnknown
}

// restart starts a standby whose server has ended. What it looks at was decided
// upon a moment ago, and is looked at again.
func (s *Service) restart(ctx context.Context) {
	err := s.restartLive(ctx)
	s.starts.note(err)
	if err != nil {
		s.log.Warn().Err(err).Int("failures", s.starts.failures).Msg("start the standby again")
		return
	}
	s.log.Info().Msg("the standby had ended and is started again")
}

func (s *Service) restartLive(ctx context.Context) error {
	l, err := s.readLive(ctx)
	if err != nil {
		return err
	}
	dir, srv, err := s.server(ctx, l)
	if err != nil || srv == nil {
		return err
	}
	is, err := srv.IsStandby(ctx)
	if err != nil {
		return err
	}
	if !is {
		return fmt.Errorf("start PostgreSQL in %s: %w: it has no standby.signal and would leave recovery", dir, messages.ErrRefused)
	}
	if err := startOnce(ctx, srv); err != nil {
		return err
	}
	return s.mustRecover(ctx, dir, srv)
}

// mustRecover stops a server that came up out of recovery at once (I-4): it would
// be a second primary.
func (s *Service) mustRecover(ctx context.Context, dir string, srv Server) error {
	r, err := s.db.Receiver(ctx)
	if err != nil {
		return fmt.Errorf("ask the started PostgreSQL in %s: %w", dir, err)
	}
	if r.InRecovery {
		return nil
	}
	stopErr := srv.Stop(context.WithoutCancel(ctx), true)
	return errors.Join(incurable(fmt.Errorf("PostgreSQL in %s came up out of recovery and was stopped", dir),
		"this should be impossible: keep the dataset and report it"), stopErr)
}
