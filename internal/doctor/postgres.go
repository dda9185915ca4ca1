package doctor

import (
	"path/filepath"
	"strings"

	"github.com/pgresync/pgresync/messages"
)

// oldest is the first version whose copies can be made as they are here.
const oldest = 12

func (f *Facts) primary() bool { return f.Sidecar == messages.SidecarPrimary }

func postgres(r *report, f *Facts) {
	p := &f.Postgres
	switch {
	case p.Identity == nil && f.primary():
		r.fail("postgresql", "start PostgreSQL, or correct PGRESYNC_PG_CONNINFO", "it does not answer: %s", p.Problem)
		return
	case p.Identity == nil && len(f.ZFS.Live) == 0:
		r.ok("postgresql", "it does not run, and there is no data yet: a seed will make it")
		return
	case p.Identity == nil:
		r.warn("postgresql", "start PostgreSQL if it is meant to run; otherwise a resync will", "it does not answer: %s", p.Problem)
		return
	}
	id := p.Identity
	if id.Version.Major() < oldest {
		r.fail("postgresql", "upgrade PostgreSQL", "version %s is older than %d", id.Version, oldest)
		return
	}
	r.ok("postgresql", "version %s answers, a %s on timeline %s", id.Version, id.Role, id.Timeline.Current)
	switch {
	case f.primary() && id.Role != messages.RolePrimary:
		r.warn("role", "run the secondary sidecar here too", "PostgreSQL is a standby: this sidecar waits until it is promoted")
	case !f.primary() && id.Role == messages.RolePrimary:
		r.warn("role", "run the primary sidecar here too", "PostgreSQL is a primary: this sidecar waits, and touches nothing")
	}
}

func grants(r *report, f *Facts) {
	p := &f.Postgres
	switch {
	case p.Identity == nil:
		return
	case len(p.Grants) == 0:
		r.ok("grants", "the role may do what is needed")
	default:
		where := ""
		if p.Identity.Role != messages.RolePrimary {
			where = " on the primary"
		}
		r.fail("grants", "as a superuser"+where+": "+strings.Join(p.Grants, "; "), "the role lacks %d privileges", len(p.Grants))
	}
}

func programs(r *report, f *Facts) {
	p := &f.Postgres
	if f.primary() {
		return // it starts and stops nothing
	}
	want := 0
	for _, peer := range f.Peers {
		if peer.Identity != nil && peer.Identity.Role == messages.RolePrimary {
			want = peer.Identity.Version.Major()
		}
	}
	switch {
	case p.BinProblem != "":
		r.fail("programs", "install PostgreSQL's server programs, or point PGRESYNC_PG_BIN_DIR at them", "they cannot be run: %s", p.BinProblem)
	case want != 0 && want != p.BinMajor:
		r.fail("programs", "install the primary's major version, or point PGRESYNC_PG_BIN_DIR at it", "they are of PostgreSQL %d, the primary's is %d: a copy would not start", p.BinMajor, want)
	default:
		r.ok("programs", "of PostgreSQL %d", p.BinMajor)
	}
}

// configuration: a copy is started with the postgresql.conf that is in it, unless
// the sidecar is told of another one.
func configuration(r *report, f *Facts) {
	p := &f.Postgres
	if f.primary() || p.ConfigFile == "" || p.DataDir == "" {
		return
	}
	want := p.ConfigFile
	if want == filepath.Join(p.DataDir, "postgresql.conf") {
		want = ""
	}
	switch {
	case p.ConfigGiven == want && want == "":
		r.ok("config_file", "it lies in the data directory")
	case p.ConfigGiven == want:
		r.ok("config_file", "%s", want)
	case want == "":
		r.fail("config_file", "leave PGRESYNC_PG_CONFIG_FILE unset", "the server reads the postgresql.conf in its data directory, a copy would be started with %s", p.ConfigGiven)
	default:
		r.fail("config_file", "set PGRESYNC_PG_CONFIG_FILE="+want, "the server reads %s, outside of its data directory: a copy would be started without it", want)
	}
}

// room is how many slots and walsenders should be free: a resync holds the slot
// of the new copy beside that of the old one (docs/adr/0004-one-slot-per-copy.md).
const room = 2

func settings(r *report, f *Facts) {
	s := f.Postgres.Settings
	if s == nil {
		return
	}
	if !f.primary() {
		if !s.HotStandby {
			r.fail("hot_standby", "ALTER SYSTEM SET hot_standby = on, and restart", "it is off: the standby cannot be asked, and a resync cannot be proven")
		}
		return
	}
	if s.WALLevel == "minimal" {
		r.fail("wal_level", "ALTER SYSTEM SET wal_level = 'replica', and restart", "it is minimal: standbys cannot stream")
	} else {
		r.ok("wal_level", "%s", s.WALLevel)
	}
	free(r, "wal_senders", "max_wal_senders", s.MaxSenders, s.Senders)
	free(r, "slots", "max_replication_slots", s.MaxSlots, s.Slots)
	if s.MaxSlotKeepMB < 0 {
		r.warn("slot_wal", "ALTER SYSTEM SET max_slot_wal_keep_size = '<what the disk can spare>', and reload",
			"max_slot_wal_keep_size is -1: the slot of a standby that is gone keeps WAL until the disk is full")
	} else {
		r.ok("slot_wal", "max_slot_wal_keep_size is %d MB", s.MaxSlotKeepMB)
	}
}

func free(r *report, check, name string, limit, used int) {
	left := limit - used
	remedy := "raise " + name + ", and restart"
	switch {
	case left <= 0:
		r.fail(check, remedy, "all %d of %s are in use: no standby can be added or resynced", limit, name)
	case left < room:
		r.warn(check, remedy, "%d of %d %s are in use: a resync needs %d for a while", used, limit, name, room)
	default:
		r.ok(check, "%d of %d %s are in use", used, limit, name)
	}
}
