package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// lock is held by the one process that acts on this node's copies: each believes its
// own reading of the journal. The kernel drops it with the process, however that
// ends; the file stays (docs/adr/0034-one-process-acts-on-a-copy.md).
type lock struct {
	path string
	// who holds it, in words for the one who comes second.
	who  string
	file *os.File // nil while it is not held
}

func newLock(cfg Config, who string) *lock {
	return &lock{path: lockPath(cfg), who: fmt.Sprintf("%s, process %d", who, os.Getpid())}
}

// lockPath is beside the stage directory, in what a boot empties.
func lockPath(cfg Config) string {
	name := strings.ReplaceAll(string(cfg.Dataset), "/", "%") // which is in no dataset's name
	return filepath.Join(filepath.Dir(stageDir(cfg)), name+".lock")
}

// openLock is by the owner only: whoever could open it could hold it.
func openLock(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a separated sidecar has to pass it
		return nil, err
	}
	return os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
}

// lendLock makes the file for an unprivileged part, which cannot make one.
func lendLock(cfg Config) error {
	if os.Geteuid() != 0 {
		return nil // there will be no such part, and privileged.Run says why
	}
	uid, gid, err := pgops.LookupUser(cfg.PGUser)
	if err != nil {
		return fmt.Errorf("make a lock for the unprivileged part: %w", err)
	}
	f, err := openLock(lockPath(cfg))
	if err == nil {
		err = errors.Join(f.Chown(uid, gid), f.Close())
	}
	if err != nil {
		return fmt.Errorf("make a lock for the unprivileged part: %w", err)
	}
	return nil
}

// take wraps messages.ErrBusy while another process holds it.
func (l *lock) take() error {
	if l.file != nil {
		return nil
	}
	f, err := openLock(l.path)
	if err != nil {
		return fmt.Errorf("lock %s: %w", l.path, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		holder, _ := io.ReadAll(io.LimitReader(f, 100)) // a courtesy
		_ = f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return fmt.Errorf("lock %s: %w", l.path, err)
		}
		return daemon.WithExitCode(fmt.Errorf("lock %s: %w: %s acts on this node's copies; it passes when that one ends", l.path, messages.ErrBusy, holder), daemon.ExitConflict)
	}
	l.file = f // it is held, whatever becomes of the words, which are a courtesy
	if f.Truncate(0) == nil {
		_, _ = f.WriteString(l.who)
	}
	return nil
}

// await takes it when whoever holds it has ended. It is kept when the caller is done
// with it: triggers write the journal between two runs of the engine, too.
func (l *lock) await(ctx context.Context, r root, log zerolog.Logger) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for said := false; ; said = true {
		err := l.take()
		if errors.Is(err, fs.ErrPermission) && r.client == nil && os.Geteuid() != 0 {
			// Where ZFS is delegated. It cannot make the file, and only root's seed acts alone.
			log.Warn().Err(err).Msg("a seed is not kept from acting beside this sidecar")
			return nil
		}
		if !errors.Is(err, messages.ErrBusy) {
			return err
		}
		if !said {
			log.Warn().Err(err).Msg("waits for its turn")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (l *lock) release() {
	if l.file != nil {
		_ = l.file.Close() // nothing is lost with it
		l.file = nil
	}
}
