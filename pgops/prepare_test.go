package pgops_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/messages"
	"github.com/pgresync/pgresync/pgops"
)

// rig is a primary with a tablespace and its WAL elsewhere, and a bracketed copy
// of it that waits aside, as a clone of a received snapshot does.
type rig struct {
	primary *pgtest.Cluster
	db      *pgops.Database
	// dir holds stage/ (now) and final/ (later), each with data, ts and wal.
	dir   string
	setup messages.StandbySetup
	oid   uint32
	stop  messages.LSN
}

func newRig(t *testing.T) *rig {
	t.Helper()
	outside := pgtest.TempDir(t)
	r := &rig{dir: pgtest.TempDir(t)}
	r.primary = pgtest.New(t, pgtest.Options{
		InitDB:   []string{"--waldir", filepath.Join(outside, "wal")},
		Settings: map[string]string{"wal_keep_size": "64MB", "recovery_target_time": "2020-01-01"},
	})
	r.db = database(t, r.primary, pgtest.Superuser)
	space := pgtest.MkdirAll(t, filepath.Join(outside, "ts"))
	r.primary.Exec(t, "CREATE TABLESPACE ts LOCATION '"+space+"'", "CREATE TABLE t TABLESPACE ts AS SELECT 1 AS v",
		"ALTER SYSTEM SET primary_conninfo = 'host=old'", "ALTER SYSTEM SET synchronous_standby_names = ''",
		"ALTER SYSTEM SET work_mem = '5MB'")
	if _, err := r.db.ReserveSlot(t.Context(), "pgresync_stale"); err != nil {
		t.Fatal(err)
	}
	r.litter(t)
	id := identity(t, r.primary)
	paths, err := r.db.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stage := pgtest.MkdirAll(t, filepath.Join(r.dir, "stage"))
	backup, err := r.db.Backup(t.Context(), "rig", func(ctx context.Context) error {
		pgtest.CopyDir(ctx, t, r.primary.DataDir, filepath.Join(stage, "data"))
		pgtest.CopyDir(ctx, t, space, filepath.Join(stage, "ts"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	pgtest.MkdirAll(t, filepath.Join(stage, "wal"))
	for r.oid = range paths.Tablespaces {
	}
	r.stop = backup.StopLSN
	final := filepath.Join(r.dir, "final")
	uid, gid := pgtest.Owner(t)
	r.setup = messages.StandbySetup{
		DataDir: filepath.Join(stage, "data"), FinalDataDir: filepath.Join(final, "data"),
		SystemID: id.SystemID, Timeline: id.Timeline.Current, BackupLabel: backup.Label, TablespaceMap: backup.TablespaceMap,
		PrimaryConninfo: r.primary.Conninfo(pgtest.Superuser), SlotName: "pgresync_db2_new",
		Settings: map[string]string{"cluster_name": `it's a \ standby`, "max_connections": "30"},
		WALDir:   filepath.Join(final, "wal"), WALStaged: filepath.Join(stage, "wal"), WALLink: true, EmptyWAL: true,
		Tablespaces: map[uint32]string{r.oid: filepath.Join(final, "ts")}, TablespacesStaged: map[uint32]string{r.oid: filepath.Join(stage, "ts")},
		UID: uid, GID: gid,
	}
	return r
}

// litter puts things into the primary's directory that must not come along.
func (r *rig) litter(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"base/pgsql_tmp/pgsql_tmp1.0", "global/pg_internal.init.7", "base/1/pg_internal.init", "pg_stat_tmp/x", "pg_snapshots/1",
		"pg_notify/extra", "pg_subtrans/extra/deep", "backup_manifest", "backup_label.old", "tablespace_map.old",
		"postgresql.auto.conf.tmp", "current_logfiles",
	} {
		pgtest.MkdirAll(t, filepath.Dir(filepath.Join(r.primary.DataDir, name)))
		r.primary.Write(t, name, "litter")
	}
}

func (r *rig) prepare(t *testing.T) error {
	t.Helper()
	return pgops.Preparer{BinDir: r.primary.BinDir}.Prepare(t.Context(), r.setup)
}

// finish does what the switch does: what was aside is now in place.
func (r *rig) finish(t *testing.T) *pgtest.Cluster {
	t.Helper()
	if err := os.Rename(filepath.Join(r.dir, "stage"), filepath.Join(r.dir, "final")); err != nil {
		t.Fatal(err)
	}
	s := pgtest.Adopt(t, r.setup.FinalDataDir)
	s.Relocate(t)
	return s
}

func TestPreparedCopyStreams(t *testing.T) {
	r := newRig(t)
	if _, err := r.db.ReserveSlot(t.Context(), r.setup.SlotName); err != nil {
		t.Fatal(err)
	}
	keep := pgtest.TempDir(t)
	if err := os.WriteFile(filepath.Join(keep, "pg_hba.conf"), []byte("local all all trust\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.setup.KeepFrom, r.setup.KeepFiles = keep, []string{"pg_hba.conf", "missing.conf"}
	for range 2 { // idempotent
		if err := r.prepare(t); err != nil {
			t.Fatal(err)
		}
	}
	r.looksClean(t)
	if hba, err := os.ReadFile(filepath.Join(r.setup.DataDir, "pg_hba.conf")); err != nil || string(hba) != "local all all trust\n" {
		t.Errorf("pg_hba.conf: got %q, %v; want the kept one", hba, err)
	}

	r.primary.Exec(t, "INSERT INTO t VALUES (2)")
	s := r.finish(t)
	if err := server(t, s).Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	db := database(t, s, pgtest.Superuser)
	var got messages.Receiver
	pgtest.Eventually(t, "it streams past the stop position", func() bool {
		var err error
		got, err = db.Receiver(t.Context())
		return err == nil && got.Streaming && got.ReplayLSN >= r.stop
	})
	if !got.InRecovery || got.SlotName != r.setup.SlotName || got.SenderPort != r.primary.Port {
		t.Errorf("receiver: got %+v, want a standby on our slot", got)
	}
	r.primary.AwaitReplay(t, s)
	for query, want := range map[string]string{
		"SELECT sum(v) FROM t":                              "3",
		"SELECT current_setting('cluster_name')":            `it's a \ standby`,
		"SELECT current_setting('work_mem')":                "5MB",
		"SELECT current_setting('recovery_target_time')":    "",
		"SELECT count(*) FROM pg_replication_slots":         "0",
		"SELECT system_identifier FROM pg_control_system()": r.setup.SystemID.String(),
	} {
		if got := s.Text(t, query); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	paths, err := db.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := messages.Paths{
		DataDir: r.setup.FinalDataDir, WALDir: r.setup.WALDir, WALLink: true, Tablespaces: r.setup.Tablespaces,
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	senders, err := r.db.Senders(t.Context())
	if err != nil || len(senders) != 1 || senders[0].SlotName != r.setup.SlotName {
		t.Errorf("senders: got %+v, %v; want the new standby", senders, err)
	}

	if err := server(t, s).Stop(t.Context(), pgops.StopFast); err != nil {
		t.Fatal(err)
	}
	r.setup.DataDir, r.setup.WALStaged = r.setup.FinalDataDir, r.setup.WALDir
	if err := r.prepare(t); !errors.Is(err, messages.ErrRefused) {
		t.Errorf("prepare what was started since: got %v, want ErrRefused", err)
	}
}

// looksClean checks the copy from outside, and that nothing beyond it was touched.
func (r *rig) looksClean(t *testing.T) {
	t.Helper()
	dir := r.setup.DataDir
	for _, name := range []string{
		"postmaster.pid", "postmaster.opts", "backup_manifest", "backup_label.old", "tablespace_map.old", "postgresql.auto.conf.tmp",
		"current_logfiles", "base/pgsql_tmp", "global/pg_internal.init.7", "base/1/pg_internal.init", "pg_replslot/pgresync_stale",
		"pg_stat_tmp/x", "pg_snapshots/1", "pg_notify/extra", "pg_subtrans/extra",
	} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still in the copy: %v", name, err)
		}
	}
	for _, name := range []string{"postmaster.pid", "pg_replslot/pgresync_stale", "base/pgsql_tmp/pgsql_tmp1.0"} {
		if _, err := os.Lstat(filepath.Join(r.primary.DataDir, name)); err != nil {
			t.Errorf("the primary lost %s: %v", name, err)
		}
	}
	label, err := os.ReadFile(filepath.Join(dir, "backup_label"))
	if err != nil || !bytes.Equal(label, r.setup.BackupLabel) {
		t.Errorf("backup_label: got %q, %v; want the primary's, byte for byte", label, err)
	}
	conf, err := os.ReadFile(filepath.Join(dir, "postgresql.auto.conf"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(conf), "host=old") || strings.Count(string(conf), "# pgresync begin") != 1 {
		t.Errorf("postgresql.auto.conf: got\n%s\nwant one block of ours and none of the primary's own settings", conf)
	}
	for _, name := range []string{"standby.signal", "postgresql.auto.conf", "backup_label", "tablespace_map"} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		} else if info.Mode() != 0o600 {
			t.Errorf("%s: mode %v, want 0600", name, info.Mode())
		}
	}
}

func TestConfiguredIsWhatTheCopyWouldStartWith(t *testing.T) {
	r := newRig(t)
	p := pgops.Preparer{BinDir: r.primary.BinDir}
	read := func(want int) {
		t.Helper()
		if err := p.Prepare(t.Context(), r.setup); err != nil {
			t.Fatal(err)
		}
		got, err := p.Configured(t.Context(), r.setup, []string{"max_connections", "no such; name"})
		if diff := cmp.Diff(map[string]int{"max_connections": want}, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
	read(30)
	// Raised, in a copy that was prepared already.
	r.setup.Settings["max_connections"] = "40"
	read(40)
	// The configuration lies elsewhere, and says where the data will be, not where they
	// are now.
	etc := filepath.Join(pgtest.TempDir(t), "it's etc")
	pgtest.MkdirAll(t, etc)
	delete(r.setup.Settings, "max_connections")
	conf := filepath.Join(etc, "postgresql.conf")
	moveConfig(t, r.setup.DataDir, conf, "max_connections = 50\ndata_directory = '"+r.setup.FinalDataDir+"'\n")
	if err := p.Prepare(t.Context(), r.setup); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Configured(t.Context(), r.setup, []string{"max_connections"}); !errors.Is(err, messages.ErrNotFound) {
		t.Errorf("without a postgresql.conf: got %v, want ErrNotFound", err)
	}
	p.ConfigFile = conf
	read(50)
	r.setup.Settings["max_connections"] = "60"
	read(60)
}

// moveConfig takes postgresql.conf out of a data directory and adds to it.
func moveConfig(t *testing.T, dataDir, to, more string) {
	t.Helper()
	from := filepath.Join(dataDir, "postgresql.conf")
	old, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := pgtest.Owner(t)
	err = errors.Join(os.WriteFile(to, append(old, more...), 0o600), os.Chown(to, uid, gid), os.Remove(from))
	if err != nil {
		t.Fatal(err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	r := newRig(t)
	good := r.setup
	for name, test := range map[string]struct {
		change func(s *messages.StandbySetup)
		want   error
	}{
		"another cluster":        {func(s *messages.StandbySetup) { s.SystemID++ }, messages.ErrRefused},
		"another timeline":       {func(s *messages.StandbySetup) { s.Timeline++ }, messages.ErrRefused},
		"another owner":          {func(s *messages.StandbySetup) { s.UID++ }, messages.ErrRefused},
		"root":                   {func(s *messages.StandbySetup) { s.UID = 0 }, messages.ErrRefused},
		"no connection":          {func(s *messages.StandbySetup) { s.PrimaryConninfo = "" }, messages.ErrRefused},
		"no label":               {func(s *messages.StandbySetup) { s.BackupLabel = nil }, nil},
		"no data":                {func(s *messages.StandbySetup) { s.DataDir = r.dir }, messages.ErrNotFound},
		"unknown tablespace":     {func(s *messages.StandbySetup) { s.Tablespaces = nil }, messages.ErrRefused},
		"tablespace not in map":  {func(s *messages.StandbySetup) { s.TablespaceMap = nil }, messages.ErrRefused},
		"tablespace in the data": {func(s *messages.StandbySetup) { s.Tablespaces = map[uint32]string{r.oid: s.FinalDataDir + "/ts"} }, messages.ErrRefused},
		"setting with a newline": {func(s *messages.StandbySetup) { s.Settings = map[string]string{"work_mem": "1MB\nfsync = off"} }, messages.ErrRefused},
		"setting of ours":        {func(s *messages.StandbySetup) { s.Settings = map[string]string{"primary_conninfo": "x"} }, messages.ErrRefused},
		"keep pg_control": {func(s *messages.StandbySetup) {
			s.KeepFrom, s.KeepFiles = r.primary.DataDir, []string{"global/pg_control"}
		}, messages.ErrRefused},
		"keep from outside": {func(s *messages.StandbySetup) { s.KeepFrom, s.KeepFiles = r.dir, []string{"../x"} }, messages.ErrRefused},
		"incremental backup": {func(s *messages.StandbySetup) {
			s.BackupLabel = append(bytes.Clone(s.BackupLabel), "INCREMENTAL FROM LSN: 0/1\n"...)
		}, messages.ErrRefused},
		"WAL of another time": {func(s *messages.StandbySetup) { s.WALStaged = r.primaryWAL(t) }, messages.ErrRefused},
	} {
		t.Run(name, func(t *testing.T) {
			r.setup = good
			test.change(&r.setup)
			err := r.prepare(t)
			if err == nil || test.want != nil && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if _, err := os.Lstat(filepath.Join(good.DataDir, "backup_label")); err == nil {
				t.Error("the label was written all the same")
			}
		})
	}
	t.Run("a live postmaster", func(t *testing.T) {
		r.setup = good
		r.setup.DataDir = r.primary.DataDir
		if err := r.prepare(t); !errors.Is(err, messages.ErrBusy) {
			t.Errorf("got %v, want ErrBusy", err)
		}
		running(t, server(t, r.primary), true)
	})
}

func (r *rig) primaryWAL(t *testing.T) string {
	t.Helper()
	paths, err := r.db.Paths(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return paths.WALDir
}

// A directory of the list may be a link to a RAM disk, and a file in it a link to
// anywhere.
func TestPrepareFollowsNoLinkOut(t *testing.T) {
	r := newRig(t)
	outside := pgtest.TempDir(t)
	for _, name := range []string{"precious", "pgsql_tmp9"} {
		if err := os.WriteFile(filepath.Join(outside, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := r.setup.DataDir
	for _, name := range []string{"pg_stat_tmp", "base/link", "pg_notify/link"} {
		path := filepath.Join(dir, name)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(outside, path); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.prepare(t); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"precious", "pgsql_tmp9"} {
		if _, err := os.Stat(filepath.Join(outside, name)); err != nil {
			t.Errorf("%s was removed beyond the copy: %v", name, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(dir, "pg_stat_tmp")); err != nil || !info.IsDir() {
		t.Errorf("pg_stat_tmp: got %v, %v; want a directory of the copy's own", info, err)
	}
}

// pg_wal as the copy has it, and what is to become of it.
func TestPrepareWALPlaces(t *testing.T) {
	r := newRig(t)
	good := r.setup
	wal := filepath.Join(good.DataDir, "pg_wal")
	t.Run("a mount point below the data directory", func(t *testing.T) {
		r.setup = good
		r.setup.WALDir, r.setup.WALStaged, r.setup.WALLink = filepath.Join(good.FinalDataDir, "pg_wal"), good.WALStaged, false
		if err := r.prepare(t); err != nil {
			t.Fatal(err)
		}
		isDir(t, wal)
		isDir(t, filepath.Join(good.WALStaged, "archive_status"))
	})
	t.Run("empty, inside the data directory", func(t *testing.T) {
		r.setup = good
		r.setup.WALDir, r.setup.WALStaged, r.setup.WALLink = "", "", false
		if err := r.prepare(t); err != nil {
			t.Fatal(err)
		}
		isDir(t, filepath.Join(wal, "archive_status"))
	})
	t.Run("a directory with WAL is not replaced by a link", func(t *testing.T) {
		r.setup = good
		if err := os.WriteFile(filepath.Join(wal, "000000010000000000000001"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.prepare(t); err == nil {
			t.Error("got no error")
		}
	})
	t.Run("travelled, inside the data directory", func(t *testing.T) {
		r.setup = good
		r.setup.WALDir, r.setup.WALStaged, r.setup.WALLink, r.setup.EmptyWAL = "", "", false, false
		if err := r.prepare(t); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(wal, "000000010000000000000001")); err != nil {
			t.Errorf("WAL that travelled is gone: %v", err)
		}
	})
}

func isDir(t *testing.T, path string) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
		t.Errorf("%s: got %v, %v; want a directory of mode 0700", path, info, err)
	}
}
