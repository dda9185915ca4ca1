package secondary

import (
	"context"
	"time"

	"github.com/pgresync/pgresync/internal/plan"
	"github.com/pgresync/pgresync/internal/resync"
	"github.com/pgresync/pgresync/messages"
)

// Findings are what is known at the moment at which a phase failed.
type Findings struct {
	Journal resync.Journal
	Error   error
	Remedy  string
	// Facts and Verdict are of the last look, which was before the resync began.
	Facts   plan.Facts
	Verdict plan.Diagnosis
	// Target is the snapshot of the running pass, nil before there was one.
	Target *messages.Manifest
	// DataDir is the live copy's, "" when it is not known.
	DataDir string
}

// Diagnostics leaves findings where an operator can read them.
type Diagnostics interface {
	// Leave returns where they are, "" when none are wanted.
	Leave(ctx context.Context, f Findings) (path string, err error)
}

// diagnosticsBound is how long a failure may be held up for them.
const diagnosticsBound = 15 * time.Second

// leaveFindings never fails: they only explain.
func (s *Service) leaveFindings(ctx context.Context, j resync.Journal, cause error, remedy string) string {
	if s.diagnostics == nil || j.ID == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, diagnosticsBound)
	defer cancel()
	f := Findings{Journal: j, Error: cause, Remedy: remedy, Facts: s.looked, Verdict: s.previous}
	if m, err := s.manifest(ctx); err == nil {
		f.Target = m
	}
	if l, err := s.readLive(ctx); err == nil {
		f.DataDir = l.dataDir(s.facts)
	}
	path, err := s.diagnostics.Leave(ctx, f)
	if err != nil {
		s.log.Warn().Err(err).Msg("no diagnostics were left")
		return ""
	}
	return path
}
