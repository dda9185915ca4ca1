package pgops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pgresync/pgresync/internal/command"
	"github.com/pgresync/pgresync/messages"
)

// Preparer turns a copied data directory into a standby's.
type Preparer struct {
	// BinDir holds pg_controldata of the version that will run the standby.
	BinDir string
	// ConfigFile is this node's postgresql.conf where that does not lie in the data
	// directory, else "".
	ConfigFile string
}

// Prepare does everything that must be done to the copy before PostgreSQL may
// start on it (I-4), and checks in the end that it is all there, on disk. The
// copy is marked a standby before anything else is touched, and has its
// backup_label last, so that no crash leaves something that starts as a primary.
//
// It is idempotent until PostgreSQL has run on the copy; after that it refuses,
// since a copy that was started is no longer what the label describes. Errors:
// messages.ErrRefused for a copy that is of another cluster, version, timeline or
// owner, was started before, or contradicts the setup; ErrBusy when a postmaster
// runs on it. No link is followed out of the directory.
//
// Contents of tablespaces outside of the data directory are left as they are:
// the links still name the primary's paths, which may be those of the live data
// here. PostgreSQL itself removes temporary files and relation caches there when
// it starts (RemovePgTempFiles, RelationCacheInitFileRemove).
func (p Preparer) Prepare(ctx context.Context, setup messages.StandbySetup) error {
	if err := p.prepare(ctx, &setup); err != nil {
		return fmt.Errorf("prepare %s: %w", setup.DataDir, err)
	}
	return nil
}

func (p Preparer) prepare(ctx context.Context, setup *messages.StandbySetup) error {
	label, err := checkSetup(setup)
	if err != nil {
		return err
	}
	root, err := openDir(setup.DataDir)
	if err != nil {
		return fmt.Errorf("open the copy: %w", err)
	}
	defer func() { _ = root.Close() }() // nothing is written through it
	major, err := p.checkCopy(ctx, root, setup, label)
	if err != nil {
		return err
	}
	c := copied{root: root, setup: setup, major: major}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"mark it a standby", c.markStandby},
		{"clean it", c.clean},
		{"set up pg_wal", c.placeWAL},
		{"link the tablespaces", c.linkTablespaces},
		{"check owners and modes", c.checkOwners},
		{"keep local files", c.keepFiles},
		{"write the settings", c.writeSettings},
		{"write the backup label", c.writeLabel},
		{"verify it", c.verify},
	} {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// copied is the copy while it is being prepared. All paths are relative to root.
type copied struct {
	root  *os.Root
	setup *messages.StandbySetup
	major int
	// tablespaces and tablespaceMap are what linkTablespaces made of the setup's map.
	tablespaces   []Tablespace
	tablespaceMap []byte
}

// checkSetup finds contradictions before anything is touched.
func checkSetup(s *messages.StandbySetup) (BackupLabel, error) {
	label, err := ParseBackupLabel(s.BackupLabel)
	if err != nil {
		return label, err
	}
	switch {
	case !filepath.IsAbs(s.DataDir):
		return label, errors.New("the data directory is not an absolute path")
	case s.PrimaryConninfo == "":
		return label, fmt.Errorf("%w: primary_conninfo is missing", messages.ErrRefused)
	case s.UID == 0:
		return label, fmt.Errorf("%w: PostgreSQL does not run as root", messages.ErrRefused)
	case s.SystemID == 0:
		return label, fmt.Errorf("%w: the system identifier to expect is missing", messages.ErrRefused)
	case label.Timeline != s.Timeline:
		return label, fmt.Errorf("%w: the backup label is of timeline %s, the snapshot of %s", messages.ErrRefused, label.Timeline, s.Timeline)
	}
	if s.WALDir == "" && s.WALLink || s.WALLink && s.EmptyWAL && s.WALStaged == "" {
		return label, errors.New("a link for pg_wal needs the place it leads to, and where that is now")
	}
	if s.WALDir != "" {
		if err := checkLinkTarget(s.WALDir); err != nil {
			return label, fmt.Errorf("WAL directory: %w", err)
		}
	}
	return label, checkSettings(s)
}

// checkCopy proves that the directory is the copy that the setup is about, as the
// bracket left it.
func (p Preparer) checkCopy(ctx context.Context, root *os.Root, s *messages.StandbySetup, label BackupLabel) (int, error) {
	major, err := VersionOf(s.DataDir)
	if err != nil {
		return 0, err
	}
	info, err := root.Stat(".")
	if err != nil {
		return 0, err
	}
	if uid := ownerOf(info); uid != s.UID {
		return 0, fmt.Errorf("%w: it belongs to user id %d, PostgreSQL runs as %d here; give the PostgreSQL user the same id on all hosts",
			messages.ErrRefused, uid, s.UID)
	}
	if pid, runs := runsOnCopy("/proc", s.DataDir); runs {
		return 0, fmt.Errorf("%w: PostgreSQL runs on it as process %d", messages.ErrBusy, pid)
	}
	if lingering(s.DataDir) {
		return 0, fmt.Errorf("%w: a server process works in it", messages.ErrBusy)
	}
	programs := p.programs(s)
	binaries, err := programs.major(ctx)
	if err != nil {
		return 0, err
	}
	if binaries != major {
		return 0, fmt.Errorf("%w: it was made by PostgreSQL %d, the programs here are of %d", messages.ErrRefused, major, binaries)
	}
	data, err := programs.controlData(ctx, s.DataDir)
	if err != nil {
		return 0, err
	}
	return major, checkControl(data, s, label)
}

// programs runs them as the owner of the copy where that takes a change of user.
func (p Preparer) programs(s *messages.StandbySetup) programs {
	out := programs{dir: p.BinDir}
	if os.Geteuid() == 0 {
		out.credential = &command.Credential{UID: uint32(s.UID), GID: uint32(s.GID)}
	}
	return out
}

// checkControl compares pg_control with the setup. A bracket's snapshot is of a
// running primary, whose last checkpoint is the bracket's or a later one; any
// other state means that something was started on the copy since (PG-9, PG-10).
func checkControl(data messages.ControlData, s *messages.StandbySetup, label BackupLabel) error {
	switch {
	case data.SystemID != s.SystemID:
		return fmt.Errorf("%w: it is of the cluster with system identifier %s, not %s", messages.ErrRefused, data.SystemID, s.SystemID)
	case data.State != controlInProduction:
		return fmt.Errorf("%w: pg_control says %q: PostgreSQL has run on this copy since it was made; make a new one from the snapshot",
			messages.ErrRefused, clip(data.State))
	case data.Timeline != s.Timeline:
		return fmt.Errorf("%w: pg_control says timeline %s, the snapshot is of %s", messages.ErrRefused, data.Timeline, s.Timeline)
	case data.RedoLSN < label.StartLSN:
		return fmt.Errorf("%w: pg_control's redo position %s lies before the backup's start %s", messages.ErrRefused, data.RedoLSN, label.StartLSN)
	}
	return nil
}
