package messages_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/pgresync/pgresync/messages"
)

// flaw is a change that makes a good document bad, and a word of the complaint.
type flaw[D messages.Document] struct {
	name   string
	change func(D)
	want   string
}

func refuse[D messages.Document](t *testing.T, good func() D, flaws []flaw[D]) {
	t.Helper()
	if err := good().Validate(); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	for _, f := range flaws {
		t.Run(f.name, func(t *testing.T) {
			d := good()
			f.change(d)
			err := d.Validate()
			if err == nil || !strings.Contains(err.Error(), f.want) {
				t.Errorf("Validate = %v, want a complaint about %q", err, f.want)
			}
			if _, err := messages.Encode(d); !errors.Is(err, messages.ErrBadDocument) {
				t.Errorf("Encode = %v, want ErrBadDocument", err)
			}
		})
	}
}

func find[D messages.Document](name string) func() D {
	return func() D {
		for _, s := range samples() {
			if d, ok := s.doc.(D); ok && s.name == name {
				return d
			}
		}
		panic("no sample " + name)
	}
}

func TestManifestRefuses(t *testing.T) {
	type m = *messages.Manifest
	refuse(t, sampleManifest, []flaw[m]{
		{"no version", func(d m) { d.V = 0 }, "v:"},
		{"no id", func(d m) { d.ID = "" }, "id"},
		{"no cluster", func(d m) { d.Cluster = "" }, "cluster"},
		{"no node", func(d m) { d.Node = "" }, "node"},
		{"no system identifier", func(d m) { d.SystemID = 0 }, "system_id"},
		{"no PostgreSQL version", func(d m) { d.PGVersion = 0 }, "pg_version"},
		{"a negative PostgreSQL version", func(d m) { d.PGVersion = -1 }, "pg_version"},
		{"no timeline", func(d m) { d.Timeline.Current = 0 }, "timeline"},
		{"no start LSN", func(d m) { d.StartLSN = 0 }, "start_lsn"},
		{"the stop before the start", func(d m) { d.StopLSN = d.StartLSN - 1 }, "stop_lsn"},
		{"no segment size", func(d m) { d.WALSegmentSize = 0 }, "wal_segment_size"},
		{"a label that was changed", func(d m) { d.BackupLabel.Data[0] ^= 1 }, "backup_label"},
		{"a label without a checksum", func(d m) { d.BackupLabel.SHA256 = "" }, "backup_label"},
		{"a map that was changed", func(d m) { d.TablespaceMap.Data = nil }, "tablespace_map"},
		{"no flags", func(d m) { d.Flags = "" }, "flags"},
		{"flags of another's choice", func(d m) { d.Flags = "-R -p" }, "flags"},
		{"no datasets", func(d m) { d.Datasets = nil }, "datasets"},
		{"a dataset twice", func(d m) { d.Datasets[2].Name = "ts fast" }, "twice"},
		{"a dataset without a GUID", func(d m) { d.Datasets[1].GUID = 0 }, "GUID"},
		{"a dataset of unknown kind", func(d m) { d.Datasets[1].Kind = "zvol" }, "kind"},
		{"no root", func(d m) { d.Datasets = d.Datasets[1:] }, "root"},
		{"a root that does not travel", func(d m) { d.Datasets[0].Travels = false }, "root"},
		{"too many datasets", func(d m) {
			for i := range 256 {
				d.Datasets = append(d.Datasets, messages.ManifestDataset{Name: messages.RelName(fmt.Sprintf("t%d", i)), Kind: messages.KindOther, GUID: 1})
			}
		}, "256"},
		{"a mount point that is no path", func(d m) { d.Datasets[1].Mountpoint = "srv" }, "mount point"},
		{"a mount point that climbs", func(d m) { d.Datasets[1].Mountpoint = "/srv/../etc" }, "mount point"},
		{"a mount point of two lines", func(d m) { d.Datasets[1].Mountpoint = "/srv\n/etc" }, "mount point"},
		{"a data directory that does not travel", func(d m) { d.Layout.DataDir.Dataset = "wal" }, "does not travel"},
		{"a tablespace without an OID", func(d m) { d.Layout.Tablespaces[0].OID = 0 }, "OID 0"},
		{"a tablespace twice", func(d m) { d.Layout.Tablespaces = append(d.Layout.Tablespaces, d.Layout.Tablespaces[0]) }, "twice"},
	})
}

// A manifest comes from the network and its places become paths: none may lead out
// of the datasets that came with it.
func TestManifestRefusesHostilePlaces(t *testing.T) {
	places := map[string]func(*messages.Manifest) *messages.Place{
		"data_dir":    func(m *messages.Manifest) *messages.Place { return &m.Layout.DataDir },
		"wal_dir":     func(m *messages.Manifest) *messages.Place { return &m.Layout.WALDir },
		"tablespaces": func(m *messages.Manifest) *messages.Place { return &m.Layout.Tablespaces[0].Place },
	}
	hostile := []string{
		"", "/", "/etc", "..", "../x", "../../etc/passwd", "a/../../b", "a/..", "a/../b", "./a", "a/.", "a//b", "a/", "a\x00b", "a\nb", "a\x7fb",
	}
	for field, place := range places {
		for _, p := range hostile {
			m := sampleManifest()
			place(m).Path = p
			if err := m.Validate(); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s with path %q: %v, want a complaint", field, p, err)
			}
		}
		m := sampleManifest()
		place(m).Dataset = "elsewhere"
		if err := m.Validate(); err == nil || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("%s in a dataset that did not come along: %v", field, err)
		}
		for _, p := range []string{".", "a", "15/main", "..data", "with space", "…"} {
			m := sampleManifest()
			place(m).Path = p
			if err := m.Validate(); err != nil {
				t.Errorf("%s with path %q: %v", field, p, err)
			}
		}
	}
}

func TestManifestAcceptsMountpoints(t *testing.T) {
	for _, mp := range []string{"", "-", "none", "legacy", "/", "/srv/fast disk"} {
		m := sampleManifest()
		m.Datasets[1].Mountpoint = mp
		if err := m.Validate(); err != nil {
			t.Errorf("%q: %v", mp, err)
		}
	}
}

func TestLeaseRefuses(t *testing.T) {
	type l = *messages.Lease
	flaws := []flaw[l]{
		{"no cluster", func(d l) { d.Cluster = "" }, "cluster"},
		{"no node", func(d l) { d.Node = "" }, "node"},
		{"no system identifier", func(d l) { d.SystemID = 0 }, "system_id"},
		{"no timeline", func(d l) { d.Timeline = 0 }, "timeline"},
		{"no host", func(d l) { d.Host = "" }, "host"},
		{"a long host", func(d l) { d.Host = strings.Repeat("h", 254) }, "host"},
		{"port 0", func(d l) { d.Port = 0 }, "port"},
		{"a port too large", func(d l) { d.Port = 65536 }, "port"},
	}
	// The host ends up in primary_conninfo.
	for _, c := range " '\"\\=,;\n\x00\t?&@#$(`é" {
		flaws = append(flaws, flaw[l]{fmt.Sprintf("a host with %q", c), func(d l) { d.Host = "db" + string(c) + "x" }, "host"})
	}
	refuse(t, find[l]("lease"), flaws)
	for _, host := range []string{"db-1", "DB_1.example.com", "192.0.2.7", "2001:db8::7", "fe80::1%eth0", "/run/postgresql"} {
		d := find[l]("lease")()
		d.Host = host
		if err := d.Validate(); err != nil {
			t.Errorf("host %q: %v", host, err)
		}
	}
}

func TestEventRefuses(t *testing.T) {
	type e = *messages.Event
	refuse(t, find[e]("event"), []flaw[e]{
		{"no version", func(d e) { d.V = 0 }, "v:"},
		{"no id", func(d e) { d.ID = "" }, "id"},
		{"no cluster", func(d e) { d.Cluster = "" }, "cluster"},
		{"no node", func(d e) { d.Node = "" }, "node"},
		{"no type", func(d e) { d.Type = "" }, "type"},
		{"a type of two subject tokens", func(d e) { d.Type = "a.b" }, "type"},
		{"a wildcard for a type", func(d e) { d.Type = ">" }, "type"},
		{"a long type", func(d e) { d.Type = messages.EventType(strings.Repeat("x", 65)) }, "type"},
		{"a snapshot that is missing", func(d e) { d.Snapshot = nil }, "snapshot"},
		{"a snapshot that is bad", func(d e) { d.Snapshot.StartLSN = 0 }, "start_lsn"},
		{"a bad snapshot where none belongs", func(d e) { d.Type, d.Snapshot.StartLSN = messages.EventFailed, 0 }, "start_lsn"},
	})
}

func TestRequestsAndRepliesRefuse(t *testing.T) {
	t.Run("facts request", func(t *testing.T) {
		type r = *messages.FactsRequest
		refuse(t, find[r]("facts-request"), []flaw[r]{
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
		})
	})
	t.Run("facts", func(t *testing.T) {
		type r = *messages.PrimaryFacts
		refuse(t, find[r]("facts"), []flaw[r]{
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"no system identifier", func(d r) { d.Identity.SystemID = 0 }, "system_id"},
			{"too many datasets", func(d r) { d.Datasets = make([]messages.DatasetHistory, 257) }, "datasets"},
			{"a bad manifest", func(d r) { d.Snapshot.Flags = "" }, "flags"},
		})
	})
	t.Run("snapshot request", func(t *testing.T) {
		type r = *messages.SnapshotRequest
		refuse(t, find[r]("snapshot-request"), []flaw[r]{
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"a negative age", func(d r) { d.MaxAgeMS = -1 }, "max_age_ms"},
		})
	})
	t.Run("slot request", func(t *testing.T) {
		type r = *messages.SlotRequest
		refuse(t, find[r]("slot-request"), []flaw[r]{
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"no resync", func(d r) { d.Resync = "" }, "resync"},
			{"no action", func(d r) { d.Action = "" }, "action"},
			{"an unknown action", func(d r) { d.Action = "drop-all" }, "action"},
			{"a position for another action", func(d r) { d.Action = messages.SlotKeep }, "from"},
			{"a position on no timeline", func(d r) { d.Timeline = 0 }, "from"},
		})
	})
	t.Run("wal request", func(t *testing.T) {
		type r = *messages.WALRequest
		refuse(t, find[r]("wal-request"), []flaw[r]{
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"no claims", func(d r) { d.Claims = nil }, "claims"},
			{"too many claims", func(d r) { d.Claims = make([]messages.WALClaim, messages.MaxWALClaims+1) }, "claims"},
			{"an unknown claim", func(d r) { d.Claims[0].Kind = "truth" }, "kind"},
			{"a claim on no timeline", func(d r) { d.Claims[0].Timeline = 0 }, "timeline"},
			{"a claim of nowhere", func(d r) { d.Claims[0].At = 0 }, "at"},
			{"bytes that end before they begin", func(d r) { d.Claims[1].To = d.Claims[1].At }, "to"},
			{"too many bytes", func(d r) { d.Claims[1].To = d.Claims[1].At + messages.MaxWALBytes + 1 }, "to"},
			{"bytes without a hash", func(d r) { d.Claims[1].SHA256 = "" }, "sha256"},
		})
	})
	t.Run("wal reply", func(t *testing.T) {
		type r = *messages.WALReply
		refuse(t, find[r]("wal-reply"), []flaw[r]{
			{"no version", func(d r) { d.V = 0 }, "v:"},
			{"an unknown verdict", func(d r) { d.Answers[0].Verdict = "perhaps" }, "answers"},
		})
	})
	t.Run("slot reply", func(t *testing.T) {
		type r = *messages.SlotReply
		refuse(t, find[r]("slot-reply"), []flaw[r]{{"no version", func(d r) { d.V = 0 }, "v:"}})
	})
	t.Run("error reply", func(t *testing.T) {
		type r = *messages.ErrorReply
		refuse(t, find[r]("error-reply"), []flaw[r]{
			{"no code", func(d r) { d.Code = "" }, "code"},
			{"no error", func(d r) { d.Error = "" }, "error"},
		})
	})
	t.Run("status", func(t *testing.T) {
		type r = *messages.NodeStatus
		refuse(t, find[r]("status"), []flaw[r]{
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"no sidecar", func(d r) { d.Sidecar = "" }, "sidecar"},
			{"an identity of no cluster", func(d r) { d.Identity.SystemID = 0 }, "system_id"},
		})
	})
}

func TestStreamDocumentsRefuse(t *testing.T) {
	t.Run("request", func(t *testing.T) {
		type r = *messages.StreamRequest
		refuse(t, find[r]("stream-request"), []flaw[r]{
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"no target", func(d r) { d.To = 0 }, "to"},
			{"nothing between", func(d r) { d.From = d.To }, "same"},
		})
	})
	// The attempt becomes a token of subjects that readers subscribe to.
	attempts := []messages.MessageID{"", "a.b", ">", "*", "a b", "a/b", messages.MessageID(strings.Repeat("x", 65))}
	t.Run("record", func(t *testing.T) {
		type r = *messages.StreamRecord
		flaws := []flaw[r]{
			{"no stream", func(d r) { d.Stream = "" }, "stream"},
			{"no cluster", func(d r) { d.Cluster = "" }, "cluster"},
			{"no node", func(d r) { d.Node = "" }, "node"},
			{"no target", func(d r) { d.To = 0 }, "to"},
			{"flags of another's choice", func(d r) { d.Flags = "-L" }, "flags"},
		}
		for _, a := range attempts {
			flaws = append(flaws, flaw[r]{fmt.Sprintf("attempt %q", a), func(d r) { d.Attempt = a }, "attempt"})
		}
		refuse(t, find[r]("stream-record"), flaws)
	})
	t.Run("part", func(t *testing.T) {
		type r = *messages.Part
		flaws := []flaw[r]{
			{"no stream", func(d r) { d.Stream = "" }, "stream"},
			{"no object", func(d r) { d.Object = "" }, "object"},
			{"no bytes", func(d r) { d.Size = 0 }, "size"},
			{"more bytes than a reader will hold", func(d r) { d.Size = messages.MaxPartSize + 1 }, "size"},
			{"a negative index", func(d r) { d.Index = -1 }, "index"},
			{"no chunks", func(d r) { d.Chunks = 0 }, "chunks"},
			{"more chunks than bytes", func(d r) { d.Size, d.Chunks = 3, 4 }, "chunks"},
			{"a short hash", func(d r) { d.SHA256 = hash[1:] }, "sha256"},
			{"no chain", func(d r) { d.Chain = "" }, "chain"},
			{"a chain that is no hash", func(d r) { d.Chain = strings.Repeat("z", 64) }, "chain"},
			{"a nuid of two tokens", func(d r) { d.Nuid = "a.b" }, "nuid"},
		}
		for _, a := range attempts {
			flaws = append(flaws, flaw[r]{fmt.Sprintf("attempt %q", a), func(d r) { d.Attempt = a }, "attempt"})
		}
		refuse(t, find[r]("part"), flaws)
	})
	t.Run("end", func(t *testing.T) {
		type r = *messages.StreamEnd
		flaws := []flaw[r]{
			{"no stream", func(d r) { d.Stream = "" }, "stream"},
			{"no parts", func(d r) { d.Parts = 0 }, "parts"},
			{"no bytes", func(d r) { d.Size = 0 }, "size"},
			{"no chain", func(d r) { d.Chain = "" }, "chain"},
			{"no target", func(d r) { d.To = 0 }, "to"},
			{"an error does not excuse a missing stream", func(d r) { d.Error, d.Stream = "cut", "" }, "stream"},
		}
		for _, a := range attempts {
			flaws = append(flaws, flaw[r]{fmt.Sprintf("attempt %q", a), func(d r) { d.Attempt = a }, "attempt"})
		}
		refuse(t, find[r]("stream-end"), flaws)
		bad := &messages.StreamEnd{V: 1, Stream: streamID, Attempt: msgID, Error: "zfs send: exit status 1"}
		if err := bad.Validate(); err != nil {
			t.Errorf("an end with an error needs no totals: %v", err)
		}
	})
}
