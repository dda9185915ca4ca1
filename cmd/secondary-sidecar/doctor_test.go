package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/doctor"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
)

// publishing is a publisher that has facts, and a size for every stream.
type publishing struct {
	bus.Service
	facts *messages.PrimaryFacts
}

func (p publishing) Facts(context.Context, messages.FactsRequest) (*messages.PrimaryFacts, error) {
	return p.facts, nil
}

func (publishing) Estimate(context.Context, messages.StreamRequest) (*messages.EstimateReply, error) {
	return &messages.EstimateReply{V: 1, Bytes: 5 << 20, Written: 1 << 20}, nil
}

// publisherOf runs a publisher of PostgreSQL's major version on the server.
func publisherOf(t *testing.T, s *natstest.Server, major int, skew time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	link, err := bus.Connect(ctx, bus.Config{Cluster: "main", Node: "db1", Sidecar: "primary", Version: "1.0.0", URLs: []string{s.URL()}, Provision: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	if err := link.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	id := messages.Identity{SystemID: 7, Version: messages.PGVersion(major * 10000), Role: messages.RolePrimary, Timeline: messages.TimelineHistory{Current: 1}}
	rev, err := link.Campaign(ctx, messages.Lease{V: 1, Cluster: "main", Node: "db1", SystemID: 7, Timeline: 1, Host: "db1.example", Port: 5432, At: time.Now().UTC()})
	if err != nil {
		t.Fatal(err)
	}
	snapshot := messages.NewSnapshotID(time.Now())
	place := messages.Place{Path: "."}
	m := &messages.Manifest{
		V: 1, ID: snapshot, Cluster: "main", Node: "db1", CreatedAt: time.Now().UTC(), SystemID: 7, PGVersion: id.Version, Timeline: id.Timeline,
		StartLSN: 8, StopLSN: 16, WALSegmentSize: 16 << 20, BackupLabel: messages.NewBlob([]byte("l")), Flags: messages.FlagsPlain,
		Layout: messages.Layout{DataDir: place, WALDir: place}, Datasets: []messages.ManifestDataset{{Kind: messages.KindData, GUID: 1, CreateTXG: 1, Travels: true}},
	}
	svc := publishing{facts: &messages.PrimaryFacts{
		V: 1, Cluster: "main", Node: "db1", Lease: rev, At: time.Now().UTC(), Identity: id, WALSegmentSize: 16 << 20, Snapshot: m,
		Datasets: []messages.DatasetHistory{{History: messages.History{{Name: messages.Dataset("tank/pg").Snapshot(snapshot.ShortName()), GUID: 1, CreateTXG: 1}}}},
	}}
	st := messages.NodeStatus{V: 1, Cluster: "main", Node: "db1", Sidecar: "primary", Version: "1.0.0", At: time.Now().UTC(), Role: messages.RolePrimary, Identity: &id}
	if err := link.PutStatus(ctx, st); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() { _ = link.Serve(ctx, svc) })
	work.Go(func() {
		_ = link.ServeOperator(ctx, map[messages.OperatorVerb]bus.OperatorHandler{
			messages.VerbStatus: func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
				now := st
				now.At = time.Now().Add(skew).UTC()
				return &messages.OperatorReply{V: 1, OK: true, Node: "db1", Sidecar: "primary", Text: "x", Status: &now}, nil
			},
		})
	})
	t.Cleanup(func() { cancel(); work.Wait() })
	nc := s.Connect(t)
	for _, name := range []string{"pgresync-primary", "pgresync-operator"} {
		natstest.Eventually(t, 15*time.Second, name, func() error {
			_, err := nc.Request("$SRV.PING."+name, nil, time.Second)
			return err
		})
	}
}

// consult runs doctor on a node without any data yet.
func consult(t *testing.T, major int, skew time.Duration) (code int, findings map[string]doctor.Finding, text string) {
	t.Helper()
	s := natstest.Run(t)
	publisherOf(t, s, major, skew)
	zfs := zfstest.Fake(t)
	zfs.InPath(t)
	for key, value := range map[string]string{
		"CLUSTER": "main", "UNSIGNED": "documents,triggers", "NODE": "db2", "DATASET": string(zfs.Root) + "/pg", "NATS_URL": s.URL(),
		"PG_CONNINFO": "host=" + t.TempDir() + " user=postgres", "PG_BIN_DIR": pgtest.BinDir(t),
	} {
		t.Setenv("PGRESYNC_"+key, value)
	}
	var out, complaints bytes.Buffer
	err := run(t.Context(), []string{"doctor", "-o", "json"}, &out, &complaints)
	var doc struct{ Findings []doctor.Finding }
	if jsonErr := json.Unmarshal(out.Bytes(), &doc); jsonErr != nil {
		t.Fatalf("%v: %s%s", jsonErr, out.String(), complaints.String())
	}
	findings = map[string]doctor.Finding{}
	for _, f := range doc.Findings {
		findings[f.Check] = f
	}
	return daemon.ExitCode(err), findings, out.String()
}

func TestDoctorOnANewNodeForeseesTheSeed(t *testing.T) {
	pg := localMajor(t)
	code, findings, text := consult(t, pg, 0)
	if code != daemon.ExitOK {
		t.Errorf("exit code %d", code)
	}
	for check, want := range map[string]string{
		"postgresql": "a seed will make it", "dataset": "a seed will make it", "lineage": "will be made", "peers": "1 sidecars",
		"clock": "agree", "resync": "of kind seed and move about 6.0 MiB from db1", "streams": "are there and fit",
	} {
		if f := findings[check]; f.Level != doctor.OK || !strings.Contains(f.Text, want) {
			t.Errorf("%s: %+v, want %q", check, f, want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestDoctorFindsAnotherMajorVersionAndAClock(t *testing.T) {
	code, findings, text := consult(t, localMajor(t)+1, 10*time.Minute)
	if code != daemon.ExitPrerequisite {
		t.Errorf("exit code %d", code)
	}
	for check, want := range map[string]string{"programs": "a copy would not start", "clock": "db1 is off by 10m0s", "resync": "install the publisher's major version"} {
		if f := findings[check]; f.Level != doctor.Error || !strings.Contains(f.Text, want) {
			t.Errorf("%s: %+v, want %q", check, f, want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func localMajor(t *testing.T) int {
	t.Helper()
	cfg := Config{}
	cfg.PG.BinDir = pgtest.BinDir(t)
	major, err := postgres{cfg: cfg}.Major(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return major
}
