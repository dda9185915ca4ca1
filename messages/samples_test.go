package messages_test

import (
	"bytes"
	"time"

	"github.com/pgresync/pgresync/messages"
)

const (
	snapID   = messages.SnapshotID("06dkx6g0g800000000000001")
	baseID   = messages.SnapshotID("06dkx6g0g800000000000000")
	resyncID = messages.ResyncID("06dkx6g0g800000000000002")
	msgID    = messages.MessageID("06dkx6g0g800000000000003")
	streamID = messages.StreamID("0123456789abcdef0123456789abcdef")
	hash     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	big      = 1<<64 - 1 // does not survive a float64
)

var sampleTime = time.Date(2026, 11, 22, 10, 11, 12, 131415161, time.UTC)

func sampleHistory() messages.TimelineHistory {
	return messages.TimelineHistory{Current: 3, Ancestors: []messages.TimelineSwitch{
		{Timeline: 1, EndLSN: 0x5000028}, {Timeline: 2, EndLSN: 0x16_B374D848},
	}}
}

func sampleManifest() *messages.Manifest {
	tsmap := messages.NewBlob([]byte("16400 /srv/fast disk\n"))
	return &messages.Manifest{
		V: 1, ID: snapID, Cluster: "main", Node: "db-1", CreatedAt: sampleTime, Lease: big,
		SystemID: big, PGVersion: 150018, Timeline: sampleHistory(),
		StartLSN: 0x16_B3000028, StopLSN: 0x16_B3000138, WALSegmentSize: 16 << 20,
		BackupLabel: messages.NewBlob([]byte("START WAL LOCATION: 16/B3000028\n\xff")), TablespaceMap: &tsmap,
		Settings: map[string]int{"max_connections": 100, "max_wal_senders": 10},
		Layout: messages.Layout{
			DataDir:     messages.Place{Dataset: "", Path: "15/main"},
			WALDir:      messages.Place{Dataset: "wal", Path: ".", Link: true},
			Tablespaces: []messages.TablespacePlace{{OID: 16400, Place: messages.Place{Dataset: "ts fast", Path: ".", Link: true}}},
		},
		Datasets: []messages.ManifestDataset{
			{Name: "", Kind: messages.KindData, GUID: big, CreateTXG: 4711, Referenced: big, RecordSize: 131072, Compression: "lz4", Encryption: "off", Travels: true, Mountpoint: "/srv/pg"},
			{Name: "ts fast", Kind: messages.KindTablespace, GUID: 12, CreateTXG: 4711, Referenced: 98304, RecordSize: 16384, Compression: "zstd-3", Encryption: "off", Travels: true, Mountpoint: "/srv/fast disk"},
			{Name: "wal", Kind: messages.KindWAL, GUID: 13, CreateTXG: 4711, Referenced: 16 << 20, RecordSize: 131072, Compression: "off", Encryption: "off", Mountpoint: "legacy"},
		},
		Flags: messages.FlagsPlain, Signature: "c2ln",
	}
}

func sampleIdentity() messages.Identity {
	return messages.Identity{SystemID: big, Version: 150018, Role: messages.RolePrimary, Timeline: sampleHistory(), LSN: 0x16_B374D848}
}

func sampleReport() *messages.ResyncReport {
	return &messages.ResyncReport{
		ID: resyncID, Phase: messages.PhaseProving, Reason: messages.ReasonSlotLost, Evidence: "its slot is lost", StartedAt: sampleTime,
		Passes: []messages.PassReport{
			{Snapshot: baseID, Kind: messages.PassSeed, Bytes: big, Millis: 3600000},
			{Snapshot: snapID, Kind: messages.PassIncrement, Base: baseID, Bytes: 25 << 20, Millis: 900},
		},
		DownMillis: 1400, TotalMillis: 3605000, Error: "cut", Remedy: "wait", Diagnostics: "/var/lib/pgresync/diagnostics/x", Kept: []messages.Dataset{"tank/pg.pgresync-old"},
	}
}

func sampleTransfer() *messages.TransferReport {
	return &messages.TransferReport{Resync: resyncID, Snapshot: snapID, Dataset: "ts fast", Stream: streamID, Bytes: 1, Estimate: big, Millis: 7, Rate: 5, LeftMillis: 6, Trouble: "cut"}
}

func sampleRecord() messages.StreamRecord {
	return messages.StreamRecord{
		V: 1, Stream: streamID, Cluster: "main", Node: "db-1", Dataset: "ts fast", To: 12, From: 11, Flags: messages.FlagsRaw, Resumed: true, Recipients: []string{"age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq"},
		Attempt: msgID, State: messages.StreamRunning, Consumer: "part_x_db-2_Y", Estimate: big, Sent: 3, Rate: 5, LeftMillis: 6, Paused: true, Parts: 4, Readers: []messages.NodeName{"db-2", "db-3"}, Error: "x", Lease: 7, At: sampleTime,
	}
}

func sampleStatus(id *messages.Identity) *messages.NodeStatus {
	return &messages.NodeStatus{
		V: 1, Cluster: "main", Node: "db-2", Sidecar: "secondary", Version: "1.0.0", At: sampleTime, Role: messages.RoleStandby, Identity: id,
		Phase: messages.PhaseIdle, Verdict: messages.VerdictHealthy, Reason: messages.ReasonStreaming, Evidence: "a wal receiver streams",
		Base: snapID, Bases: []messages.SnapshotID{snapID, baseID}, Last: sampleReport(), Kept: []messages.Dataset{"tank/pg.pgresync-old"},
		Paused:   &messages.Pause{By: "dba", Reason: "maintenance", At: sampleTime},
		Transfer: sampleTransfer(),
	}
}

func sampleReply(id *messages.Identity) *messages.OperatorReply {
	return &messages.OperatorReply{
		V: 1, OK: true, Node: "db-2", Sidecar: messages.SidecarSecondary, Text: "resync begun", Resync: resyncID, Snapshot: snapID,
		Status: sampleStatus(id),
		Plan: &messages.ResyncPlan{
			Publisher: "db-1", Target: snapID, Base: baseID, Kind: messages.PassIncrement,
			Steps: []messages.PlanStep{{Dataset: "ts fast", Kind: messages.PassIncrement, Base: baseID, Resumes: true, Bytes: big}},
			Bytes: big, Since: 4096, Available: 1 << 40, Obstacles: []string{"the node is paused"},
		},
		Cleanup: &messages.CleanupReport{
			DryRun: true, Items: []messages.CleanupItem{{Kind: "dataset", Name: "tank/pg.pgresync-next", Why: "left by a resync"}},
			Kept: []messages.Dataset{"tank/pg.pgresync-diverged-1"},
		},
		Streams: []messages.StreamRecord{sampleRecord()},
	}
}

// sample is a document with every field set, and how to make an empty one.
type sample struct {
	name string
	doc  messages.Document
	zero func() messages.Document
}

func samples() []sample {
	slot := messages.SlotState{Name: "pgresync_db_2_00000000000002", RestartLSN: 0x16_B3000000, Active: true, WALStatus: messages.WALExtended}
	id := sampleIdentity()
	return []sample{
		{"manifest", sampleManifest(), func() messages.Document { return &messages.Manifest{} }},
		{
			"lease", &messages.Lease{V: 1, Cluster: "main", Node: "db-1", SystemID: big, Timeline: 3, LSN: 0x16_B374D848, Host: "db-1.example", Port: 5432, At: sampleTime},
			func() messages.Document { return &messages.Lease{} },
		},
		{
			"event", &messages.Event{V: 1, ID: msgID, Type: messages.EventSnapshotReady, Cluster: "main", Node: "db-1", At: sampleTime, Text: "snapshot is ready", Snapshot: sampleManifest()},
			func() messages.Document { return &messages.Event{} },
		},
		{"event-resync", &messages.Event{
			V: 1, ID: msgID, Type: messages.EventPhase, Cluster: "main", Node: "db-2", At: sampleTime, Text: "proving", Resync: sampleReport(),
			Transfer: sampleTransfer(),
			Verdict:  messages.VerdictResync, Reason: messages.ReasonSlotLost, Role: messages.RoleStandby,
		}, func() messages.Document { return &messages.Event{} }},
		{"facts-request", &messages.FactsRequest{V: 1, Cluster: "main", Node: "db-2"}, func() messages.Document { return &messages.FactsRequest{} }},
		{"facts", &messages.PrimaryFacts{
			V: 1, Cluster: "main", Node: "db-1", Lease: 7, At: sampleTime, Identity: id, OldestWAL: 0x16_00000000, WALSegmentSize: 16 << 20,
			Slots: []messages.SlotState{slot}, Streaming: true, Snapshot: sampleManifest(),
			Datasets: []messages.DatasetHistory{{Name: "ts fast", History: messages.History{
				{Name: "tank/pg/ts fast@pgresync-06dkx6g0g800000000000000", GUID: 11, CreateTXG: 4700},
				{Name: "tank/pg/ts fast#pgresync-06dkx6g0g800000000000000", GUID: 11, CreateTXG: 4700, Bookmark: true},
			}}},
		}, func() messages.Document { return &messages.PrimaryFacts{} }},
		{
			"snapshot-request", &messages.SnapshotRequest{V: 1, Cluster: "main", Node: "db-2", MinStartLSN: 0x16_B3000000, MaxAgeMS: 60000},
			func() messages.Document { return &messages.SnapshotRequest{} },
		},
		{
			"slot-request", &messages.SlotRequest{V: 1, Cluster: "main", Node: "db-2", Resync: resyncID, Action: messages.SlotReserve, From: 0x16_B3000028, Timeline: 3},
			func() messages.Document { return &messages.SlotRequest{} },
		},
		{"slot-reply", &messages.SlotReply{V: 1, Slot: slot}, func() messages.Document { return &messages.SlotReply{} }},
		{
			"error-reply", &messages.ErrorReply{V: 1, Code: messages.CodeRefused, Error: "snapshot: the pool is full", Remedy: "free space"},
			func() messages.Document { return &messages.ErrorReply{} },
		},
		{
			"stream-request", &messages.StreamRequest{V: 1, Cluster: "main", Node: "db-2", Dataset: "ts fast", To: 12, From: 11, Token: "1-ab12-c0ffee", Not: msgID, Room: big},
			func() messages.Document { return &messages.StreamRequest{} },
		},
		{"stream-record", new(sampleRecord()), func() messages.Document { return &messages.StreamRecord{} }},
		{"part", &messages.Part{
			V: 1, Stream: streamID, Attempt: msgID, Index: 3, Offset: 3 << 25, Size: 1 << 25, Object: messages.PartObject(streamID, msgID, 3),
			Nuid: "AbCdEf0123456789xyzXYZ", Chunks: 64, SHA256: hash, Chain: hash,
		}, func() messages.Document { return &messages.Part{} }},
		{
			"stream-end", &messages.StreamEnd{V: 1, Stream: streamID, Attempt: msgID, Parts: 4, Size: 1 << 27, Chain: hash, To: 12, From: 11},
			func() messages.Document { return &messages.StreamEnd{} },
		},
		{"status", sampleStatus(&id), func() messages.Document { return &messages.NodeStatus{} }},
		{
			"operator-request", &messages.OperatorRequest{V: 1, By: "dba", Reason: "test", DryRun: true, Full: true, All: true, Resume: true, HandOver: true, DataDir: "/srv/pg/17", Resync: resyncID, ExpiresAt: sampleTime},
			func() messages.Document { return &messages.OperatorRequest{} },
		},
		{"operator-reply", sampleReply(&id), func() messages.Document { return &messages.OperatorReply{} }},
		{
			"pause", &messages.PauseRecord{V: 1, Pause: messages.Pause{By: "dba", Reason: "maintenance", At: sampleTime}},
			func() messages.Document { return &messages.PauseRecord{} },
		},
		{"estimate-reply", &messages.EstimateReply{V: 1, Bytes: big, Written: 4096}, func() messages.Document { return &messages.EstimateReply{} }},
		{"wal-request", &messages.WALRequest{V: 1, Cluster: "main", Node: "db-2", Claims: []messages.WALClaim{
			{Kind: messages.WALCheckpoint, Timeline: 3, At: 0x16_B3000138, Redo: 0x16_B3000100, Time: 1795342272},
			{Kind: messages.WALBytes, Timeline: 3, At: 0x16_B3000138, To: 0x16_B3000238, SHA256: hash},
		}}, func() messages.Document { return &messages.WALRequest{} }},
		{
			"wal-reply", &messages.WALReply{V: 1, Answers: []messages.WALAnswer{{Verdict: messages.WALDiffers, Why: "no record begins there"}}},
			func() messages.Document { return &messages.WALReply{} },
		},
		{
			"trigger", &messages.Trigger{V: 1, By: "dba", Reason: "after maintenance", Full: true, ExpiresAt: sampleTime},
			func() messages.Document { return &messages.Trigger{} },
		},
	}
}

// withHead replaces a document's beginning, its version.
func withHead(doc []byte, head string) []byte {
	return append([]byte(head), bytes.TrimPrefix(doc, []byte(`{"v":1`))...)
}
