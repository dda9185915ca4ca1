package doctor_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/doctor"
	"github.com/pgresync/pgresync/messages"
)

func identity(role messages.Role) *messages.Identity {
	return &messages.Identity{SystemID: 7, Version: 170004, Role: role, Timeline: messages.TimelineHistory{Current: 1}}
}

// healthy is a primary's node without a flaw.
func healthy() *doctor.Facts {
	live := messages.DatasetInfo{Name: "tank/my pg", RecordSize: 128 << 10}
	return &doctor.Facts{
		Sidecar: messages.SidecarPrimary, Cluster: "main", Node: "db1", Dataset: "tank/my pg", User: "postgres", OS: "linux",
		Postgres: doctor.Postgres{
			Identity: identity(messages.RolePrimary),
			Settings: &doctor.Settings{WALLevel: "replica", HotStandby: true, MaxSenders: 10, MaxSlots: 10, MaxSlotKeepMB: 1000},
		},
		ZFS: doctor.ZFS{
			Version: "2.3.9", Pool: messages.PoolInfo{Health: "ONLINE", Capacity: 40, Free: 1 << 40}, PoolLimit: 90,
			Live:   []messages.DatasetInfo{live},
			Native: map[messages.Dataset]map[string]string{live.Name: {"sync": "standard", "compression": "lz4", "atime": "off", "primarycache": "all"}},
			Layout: []messages.ManifestDataset{{Kind: messages.KindData}, {Name: "wal", Kind: messages.KindWAL}},
		},
		NATS: doctor.NATS{Server: "2.12.0", MaxPayload: 1 << 20, NeedPayload: 1 << 19, Store: 10 << 30, NeedStore: 1 << 30, Missing: true, Creates: true, Resources: "x"},
		Peers: []doctor.Peer{
			{Node: "db2", Sidecar: "secondary", Version: "1.0", Identity: identity(messages.RoleStandby), Skew: 900 * time.Millisecond},
		},
	}
}

// standby is a secondary's.
func standby() *doctor.Facts {
	f := healthy()
	f.Sidecar, f.Lineage, f.Root = messages.SidecarSecondary, "tank/pgresync/main", true
	f.Postgres.Identity, f.Postgres.BinMajor = identity(messages.RoleStandby), 17
	f.Postgres.DataDir, f.Postgres.ConfigFile = "/srv/pg/17", "/srv/pg/17/postgresql.conf"
	f.Peers[0].Identity = identity(messages.RolePrimary)
	f.ZFS.LineageThere, f.ZFS.LineageMark, f.ZFS.PoolLimit = true, "main", 0
	f.Resync.Plan = &messages.ResyncPlan{Publisher: "db1", Target: "01KB8", Kind: messages.PassIncrement, Bytes: 5 << 20, Available: 1 << 40}
	return f
}

func TestNodesWithoutAFlaw(t *testing.T) {
	for name, f := range map[string]*doctor.Facts{"primary": healthy(), "standby": standby()} {
		findings := doctor.Examine(f)
		for _, got := range findings {
			if got.Level != doctor.OK || got.Remedy != "" {
				t.Errorf("%s: %+v", name, got)
			}
		}
		if !doctor.Ready(findings) || len(findings) < 12 {
			t.Errorf("%s: ready %v with %d findings", name, doctor.Ready(findings), len(findings))
		}
	}
}

func TestWhatAFirstSnapshotWillHoldIsNotGuessed(t *testing.T) {
	f := standby()
	f.Resync.Plan = &messages.ResyncPlan{Publisher: "db1", Kind: messages.PassSeed, Available: 1 << 40}
	findings := doctor.Examine(f)
	got := findings[len(findings)-1]
	if got.Check != "resync" || got.Level != doctor.OK || !strings.Contains(got.Text, "no snapshot yet") || strings.Contains(got.Text, " 0 B") {
		t.Errorf("got %+v, want that nothing is known of what is not there yet", got)
	}
}

func TestALayoutThatMayNotBeSeenIsNoFlawOfIt(t *testing.T) {
	f := healthy()
	f.ZFS.LayoutProblem, f.Postgres.Grants = "permission denied to examine data_directory", []string{`GRANT pg_monitor TO "x"`}
	for _, got := range doctor.Examine(f) {
		if got.Check == "layout" && (got.Level != doctor.Warning || !strings.Contains(got.Remedy, "give the grants")) {
			t.Errorf("got %+v, want that it cannot be told yet", got)
		}
	}
}

func TestEveryFlawIsFound(t *testing.T) {
	for name, tt := range map[string]struct {
		facts        func() *doctor.Facts
		spoil        func(*doctor.Facts)
		check        string
		level        doctor.Level
		text, remedy string
	}{
		"PostgreSQL is down": {
			healthy, func(f *doctor.Facts) { f.Postgres = doctor.Postgres{Problem: "connection refused"} },
			"postgresql", doctor.Error, "connection refused", "PGRESYNC_PG_CONNINFO",
		},
		"a standby that is down": {
			standby, func(f *doctor.Facts) { f.Postgres.Identity, f.Postgres.Problem = nil, "refused" },
			"postgresql", doctor.Warning, "refused", "a resync will",
		},
		"PostgreSQL is too old": {
			healthy, func(f *doctor.Facts) { f.Postgres.Identity.Version = 110022 }, "postgresql", doctor.Error, "11.22", "upgrade",
		},
		"a primary's sidecar beside a standby": {
			healthy, func(f *doctor.Facts) { f.Postgres.Identity.Role = messages.RoleStandby }, "role", doctor.Warning, "waits", "secondary sidecar",
		},
		"a standby's sidecar beside a primary": {
			standby, func(f *doctor.Facts) { f.Postgres.Identity.Role = messages.RolePrimary }, "role", doctor.Warning, "touches nothing", "primary sidecar",
		},
		"grants are missing": {
			healthy, func(f *doctor.Facts) {
				f.Postgres.Grants = []string{`GRANT pg_monitor TO "x"`, `ALTER ROLE "x" REPLICATION`}
			},
			"grants", doctor.Error, "2 privileges", `as a superuser: GRANT pg_monitor TO "x"; ALTER ROLE "x" REPLICATION`,
		},
		"grants are missing on a standby": {
			standby, func(f *doctor.Facts) { f.Postgres.Grants = []string{`GRANT pg_monitor TO "x"`} },
			"grants", doctor.Error, "1 privileges", "on the primary: GRANT",
		},
		"another major version": {
			standby, func(f *doctor.Facts) { f.Postgres.BinMajor = 16 }, "programs", doctor.Error, "16, the primary's is 17", "PGRESYNC_PG_BIN_DIR",
		},
		"a configuration elsewhere": {
			standby, func(f *doctor.Facts) { f.Postgres.ConfigFile = "/etc/postgresql/17/main/postgresql.conf" },
			"config_file", doctor.Error, "outside of its data directory", "PGRESYNC_PG_CONFIG_FILE=/etc/postgresql/17/main/postgresql.conf",
		},
		"a configuration elsewhere that is known": {
			standby, func(f *doctor.Facts) {
				f.Postgres.ConfigFile, f.Postgres.ConfigGiven = "/etc/postgresql/17/main/postgresql.conf", "/etc/postgresql/17/main/postgresql.conf"
			}, "config_file", doctor.OK, "/etc/postgresql/17/main", "",
		},
		"another configuration than is said": {
			standby, func(f *doctor.Facts) { f.Postgres.ConfigGiven = "/etc/other.conf" }, "config_file", doctor.Error, "/etc/other.conf", "unset",
		},
		"no programs": {
			standby, func(f *doctor.Facts) { f.Postgres.BinProblem = "no such file" }, "programs", doctor.Error, "no such file", "install",
		},
		"wal_level":         {healthy, func(f *doctor.Facts) { f.Postgres.Settings.WALLevel = "minimal" }, "wal_level", doctor.Error, "minimal", "replica"},
		"no slot is free":   {healthy, func(f *doctor.Facts) { f.Postgres.Settings.Slots = 10 }, "slots", doctor.Error, "all 10", "raise max_replication_slots"},
		"one slot is free":  {healthy, func(f *doctor.Facts) { f.Postgres.Settings.Slots = 9 }, "slots", doctor.Warning, "9 of 10", "raise"},
		"no walsenders":     {healthy, func(f *doctor.Facts) { f.Postgres.Settings.MaxSenders = 0 }, "wal_senders", doctor.Error, "all 0", "max_wal_senders"},
		"slots keep all":    {healthy, func(f *doctor.Facts) { f.Postgres.Settings.MaxSlotKeepMB = -1 }, "slot_wal", doctor.Warning, "-1", "max_slot_wal_keep_size"},
		"hot_standby":       {standby, func(f *doctor.Facts) { f.Postgres.Settings.HotStandby = false }, "hot_standby", doctor.Error, "off", "hot_standby = on"},
		"no ZFS":            {healthy, func(f *doctor.Facts) { f.ZFS = doctor.ZFS{Problem: "zfs: not found"} }, "zfs", doctor.Error, "not found", "OpenZFS"},
		"a degraded pool":   {healthy, func(f *doctor.Facts) { f.ZFS.Pool.Health = "DEGRADED" }, "pool", doctor.Warning, "degraded", "zpool status tank"},
		"a suspended pool":  {healthy, func(f *doctor.Facts) { f.ZFS.Pool.Health = "SUSPENDED" }, "pool", doctor.Error, "SUSPENDED", "zpool status tank"},
		"a full pool":       {healthy, func(f *doctor.Facts) { f.ZFS.Pool.Capacity = 91 }, "space", doctor.Error, "91 %", "PGRESYNC_POOL_LIMIT"},
		"a crowded pool":    {healthy, func(f *doctor.Facts) { f.ZFS.Pool.Capacity = 85 }, "space", doctor.Warning, "85 %", "free"},
		"no dataset":        {healthy, func(f *doctor.Facts) { f.ZFS.Live = nil }, "dataset", doctor.Error, "tank/my pg does not exist", "PGRESYNC_DATASET"},
		"a bad layout":      {healthy, func(f *doctor.Facts) { f.ZFS.LayoutProblem = "tablespace 1 is elsewhere" }, "layout", doctor.Error, "elsewhere", "one recursive snapshot"},
		"WAL among data":    {healthy, func(f *doctor.Facts) { f.ZFS.Layout = f.ZFS.Layout[:1] }, "layout", doctor.Warning, "recycled WAL", "tank/my pg/wal"},
		"no delegation":     {healthy, func(f *doctor.Facts) { f.ZFS.Missing = []string{"hold", "send"} }, "delegation", doctor.Error, "hold, send", "zfs allow -u postgres hold,send 'tank/my pg'"},
		"nobody can tell":   {healthy, func(f *doctor.Facts) { f.ZFS.MissingProblem = "denied" }, "delegation", doctor.Warning, "denied", "zfs allow"},
		"a standby's user":  {standby, func(f *doctor.Facts) { f.Root = false }, "delegation", doctor.Error, "only root", "as root"},
		"on FreeBSD":        {standby, func(f *doctor.Facts) { f.Root, f.OS = false, "freebsd" }, "delegation", doctor.Warning, "not tested", "as root"},
		"sync":              {healthy, func(f *doctor.Facts) { f.ZFS.Native["tank/my pg"]["sync"] = "disabled" }, "properties", doctor.Error, "power loss", "zfs set sync=standard 'tank/my pg'"},
		"atime":             {healthy, func(f *doctor.Facts) { f.ZFS.Native["tank/my pg"]["atime"] = "on" }, "properties", doctor.Warning, "every read", "atime=off"},
		"recordsize":        {healthy, func(f *doctor.Facts) { f.ZFS.Live[0].RecordSize = 1 << 20 }, "properties", doctor.Warning, "1.0 MiB", "recordsize=128K"},
		"a foreign lineage": {standby, func(f *doctor.Facts) { f.ZFS.LineageMark = "other" }, "lineage", doctor.Error, `"other"`, "PGRESYNC_LINEAGE"},
		"no NATS":           {healthy, func(f *doctor.Facts) { f.NATS = doctor.NATS{Problem: "no servers"} }, "nats", doctor.Error, "no servers", "PGRESYNC_NATS_URL"},
		"small messages":    {healthy, func(f *doctor.Facts) { f.NATS.MaxPayload = 1000 }, "nats", doctor.Error, "1000 bytes", "max_payload: 1MB"},
		"no JetStream":      {healthy, func(f *doctor.Facts) { f.NATS.JetStreamProblem = "not enabled" }, "jetstream", doctor.Error, "not enabled", "jetstream: enabled"},
		"little storage":    {healthy, func(f *doctor.Facts) { f.NATS.Store = 1 << 20 }, "jetstream", doctor.Error, "1.0 MiB", "max_file_store"},
		"a denied subject": {
			healthy, func(f *doctor.Facts) { f.NATS.Denied = []doctor.Denial{{"publish", "pgresync.main.event.x"}} },
			"permissions", doctor.Error, "denies publish on pgresync.main.event.x", `publish: { allow: "pgresync.main.event.x" }`,
		},
		"streams are missing": {healthy, func(f *doctor.Facts) { f.NATS.Creates = false }, "streams", doctor.Error, "x", "PGRESYNC_NATS_PROVISION"},
		"streams do not fit":  {healthy, func(f *doctor.Facts) { f.NATS.Missing = false }, "streams", doctor.Error, "x", "mend"},
		"another cluster":     {healthy, func(f *doctor.Facts) { f.Peers[0].Identity.SystemID = 8 }, "peers", doctor.Error, "two clusters", "PGRESYNC_CLUSTER"},
		"two versions": {
			healthy, func(f *doctor.Facts) { f.Peers = append(f.Peers, doctor.Peer{Node: "db3", Version: "2.0"}) },
			"peers", doctor.Warning, "2 versions", "secondaries first",
		},
		"a clock is off":      {healthy, func(f *doctor.Facts) { f.Peers[0].Skew = -5 * time.Second }, "clock", doctor.Warning, "db2 is off by -5s", "chronyc"},
		"a clock is far off":  {healthy, func(f *doctor.Facts) { f.Peers[0].Skew = time.Hour }, "clock", doctor.Error, "1h0m0s", "chronyc"},
		"a resync is stopped": {standby, func(f *doctor.Facts) { f.Resync.Plan.Obstacles = []string{"no room"} }, "resync", doctor.Error, "no room", "text"},
		"a resync is unknown": {standby, func(f *doctor.Facts) { f.Resync = doctor.Resync{Problem: "no publisher"} }, "resync", doctor.Warning, "no publisher", "primary sidecar"},
	} {
		t.Run(name, func(t *testing.T) {
			f := tt.facts()
			tt.spoil(f)
			findings := doctor.Examine(f)
			for _, got := range findings {
				if got.Check == tt.check && got.Level == tt.level {
					if !strings.Contains(got.Text, tt.text) || !strings.Contains(got.Remedy, tt.remedy) {
						t.Errorf("got %+v, want text with %q and remedy with %q", got, tt.text, tt.remedy)
					}
					if doctor.Ready(findings) == (tt.level == doctor.Error) {
						t.Error("ready or not does not follow from the findings")
					}
					return
				}
			}
			t.Errorf("no %s about %s in %+v", tt.level, tt.check, findings)
		})
	}
}

// What an uncertain measurement can explain is no skew.
func TestSkewWithinUncertainty(t *testing.T) {
	f := healthy()
	f.Peers[0].Skew, f.Peers[0].Uncertainty = 5*time.Second, 4*time.Second
	for _, got := range doctor.Examine(f) {
		if got.Check == "clock" && got.Level != doctor.OK {
			t.Errorf("got %+v", got)
		}
	}
}

func TestWhoMayNotListTheOthersIsReady(t *testing.T) {
	f := standby()
	f.Peers, f.PeersDenied = nil, true
	findings := doctor.Examine(f)
	if !doctor.Ready(findings) || !slices.ContainsFunc(findings, func(f doctor.Finding) bool { return strings.Contains(f.Text, "may not list") }) {
		t.Errorf("findings %+v", findings)
	}
}

func TestAnEmptyStandbyIsReady(t *testing.T) {
	f := standby()
	f.Postgres = doctor.Postgres{Problem: "refused", BinMajor: 17}
	f.ZFS.Live, f.ZFS.LineageThere = nil, false
	if findings := doctor.Examine(f); !doctor.Ready(findings) {
		t.Errorf("findings %+v", findings)
	}
}

func TestWrite(t *testing.T) {
	findings := []doctor.Finding{{"zfs", doctor.OK, "version\n2", ""}, {"slots", doctor.Error, "none", "raise > it"}}
	var text, doc bytes.Buffer
	if err := doctor.Write(&text, findings, false); err != nil {
		t.Fatal(err)
	}
	const want = "ok       zfs          version 2\nerror    slots        none\n                       do: raise > it\n"
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	if err := doctor.WriteJSON(&doc, findings); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Ready    bool
		Findings []doctor.Finding
	}
	if err := json.Unmarshal(doc.Bytes(), &back); err != nil || back.Ready || len(back.Findings) != 2 || back.Findings[1] != findings[1] {
		t.Errorf("got %s, %v", doc.String(), err)
	}
}
