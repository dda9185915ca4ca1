package pgops

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pgresync/pgresync/messages"
)

// appears is how long a server may take to be seen at all: pg_ctl start -W, for one,
// returns before postmaster.pid is there.
const appears = 5 * time.Second

// startBy has the controller start the server, and waits, as pg_ctl would, until
// it accepts connections in our data directory.
func (s *Server) startBy(ctx context.Context) error {
	limit := fmt.Errorf("it does not accept connections after %s", s.options.StartTimeout)
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.StartTimeout, limit)
	defer cancel()
	if err := s.control.start(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(appears)
	defer patience.Stop()
	for {
		ready, absent, err := s.isUp(ctx)
		if err != nil || ready {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), absent)
		case <-patience.C:
			if absent != nil {
				return absent
			}
			patience.Reset(appears)
		}
	}
}

// isUp also tells that neither the data directory has a server nor the controller
// says that one is coming, which cannot go on for long.
func (s *Server) isUp(ctx context.Context) (ready bool, absent, err error) {
	_, who, err := postmasterOf(s.options.DataDir)
	if err != nil || who == ours {
		return who == ours && accepts(s.options.DataDir), nil, err
	}
	c, err := s.control.status(ctx)
	if err == nil {
		err = s.isNotOurs(c)
	}
	if err != nil || c.runs {
		return false, nil, err
	}
	return false, fmt.Errorf("%w: %s is %s, and no server works in %s; if one runs elsewhere, its data directory is not the configured one",
		messages.ErrUnavailable, s.control, c.text, s.options.DataDir), nil
}

// accepts reads the postmaster's own word, the eighth line of postmaster.pid
// (PostgreSQL 15, miscadmin.h, LOCK_FILE_LINE_PM_STATUS), as pg_ctl does.
func accepts(dataDir string) bool {
	b, err := readPIDFile(dataDir)
	lines := strings.Split(string(b), "\n")
	if err != nil || len(lines) < 8 {
		return false
	}
	status := strings.TrimSpace(lines[7])
	return status == "ready" || status == "standby"
}

// PID is the postmaster's that works in the data directory, 0 when none does.
func (s *Server) PID() int {
	pid, who, err := postmasterOf(s.options.DataDir)
	if err != nil || who != ours {
		return 0
	}
	return pid
}
