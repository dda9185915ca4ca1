package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nkeys"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/daemon"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/internal/pgtest"
	"github.com/pgresync/pgresync/internal/zfstest"
	"github.com/pgresync/pgresync/messages"
)

// standby is the link of a node's secondary sidecar that answers resync requests
// with handle, those of operators if any are given; nil for one that does not answer.
func standby(t *testing.T, s *natstest.Server, handle bus.OperatorHandler, operators ...string) *bus.Bus {
	t.Helper()
	keys, err := messages.ParseKeys(operators)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	link, err := bus.Connect(ctx, bus.Config{
		Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary, Version: "1.0.0", URLs: []string{s.URL()}, Provision: true, Operators: keys,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(link.Close)
	if err := link.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	t.Cleanup(func() { cancel(); work.Wait() })
	if handle == nil {
		return link
	}
	work.Go(func() {
		_ = link.ServeOperator(ctx, map[messages.OperatorVerb]bus.OperatorHandler{messages.VerbResync: handle})
	})
	natstest.AwaitService(t, s.Connect(t), "pgresync-operator", 1)
	return link
}

func seeds(t *testing.T, s *natstest.Server, args ...string) (code int, complaint string) {
	t.Helper()
	zfs := zfstest.Fake(t)
	zfs.InPath(t)
	for key, value := range map[string]string{
		"CLUSTER": "main", "UNSIGNED": "documents,triggers", "NODE": "db2", "DATASET": string(zfs.Root) + "/pg", "NATS_URL": s.URL(),
		"PG_CONNINFO": "host=" + t.TempDir() + " user=postgres", "PG_BIN_DIR": pgtest.BinDir(t),
	} {
		t.Setenv("PGRESYNC_"+key, value)
	}
	var out, complaints bytes.Buffer
	err := run(t.Context(), append([]string{"seed"}, args...), &out, &complaints)
	return daemon.ExitCode(err), complaints.String()
}

// patroni are the arguments that Patroni adds (bootstrap.py, create_replica).
var patroni = []string{"--scope=main", "--role=replica", "--datadir=/srv/pg/17", "--connstring=postgres://replicator@10.0.0.1:5432/postgres", "--keep_data=True"}

func TestSeedAsksTheRunningSidecarUntilTheCopyIsInPlace(t *testing.T) {
	s := natstest.Run(t)
	id := messages.NewResyncID(time.Now())
	var mu sync.Mutex
	var asked []messages.OperatorRequest
	standby(t, s, func(_ context.Context, r messages.OperatorRequest) (*messages.OperatorReply, error) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r)
		reply := &messages.OperatorReply{V: 1, OK: true, Node: "db2", Sidecar: messages.SidecarSecondary, Text: "x", Resync: id}
		if r.Resync != "" {
			reply.Status = &messages.NodeStatus{V: 1, Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary, Phase: messages.PhaseReceiving}
		}
		if len(asked) > 2 {
			reply.Status.Phase = messages.PhaseIdle
		}
		return reply, nil
	})
	if code, complaint := seeds(t, s, patroni...); code != daemon.ExitOK {
		t.Fatalf("exit code %d: %s", code, complaint)
	}
	for i, r := range asked {
		if !r.HandOver || r.DataDir != "/srv/pg/17" || (r.Resync == "") != (i == 0) {
			t.Errorf("request %d: got %+v", i, r)
		}
	}
	if len(asked) != 3 {
		t.Errorf("%d requests, want it to end with the copy in place", len(asked))
	}
}

func TestSeedFailsWithWhatTheSidecarSays(t *testing.T) {
	s := natstest.Run(t)
	standby(t, s, func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
		return nil, fmt.Errorf("%w: PostgreSQL runs", messages.ErrRefused)
	})
	if code, complaint := seeds(t, s, patroni...); code != daemon.ExitRefused || !strings.Contains(complaint, "PostgreSQL runs") {
		t.Errorf("exit code %d: %s", code, complaint)
	}
}

// seedFile makes a key, and writes its seed to a file.
func seedFile(t *testing.T) (path, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err = pair.PublicKey()
	path = filepath.Join(t.TempDir(), "operator.seed")
	if err := errors.Join(err, os.WriteFile(path, seed, 0o600)); err != nil {
		t.Fatal(err)
	}
	return path, public
}

func TestSeedSignsWhatItAsksForWhereKeysArePinned(t *testing.T) {
	s := natstest.Run(t)
	path, public := seedFile(t)
	strange, _ := seedFile(t)
	standby(t, s, func(context.Context, messages.OperatorRequest) (*messages.OperatorReply, error) {
		return &messages.OperatorReply{
			V: 1, OK: true, Node: "db2", Sidecar: messages.SidecarSecondary, Text: "x", Resync: messages.NewResyncID(time.Now()),
			Status: &messages.NodeStatus{V: 1, Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary, Phase: messages.PhaseIdle},
		}, nil
	}, public)
	for what, tc := range map[string]struct {
		file, says string
		code       int
	}{
		"signed":             {path, "", daemon.ExitOK},
		"unsigned":           {"", "PGRESYNC_OPERATOR_SEED_FILE", daemon.ExitRefused},
		"signed by stranger": {strange, "PGRESYNC_TRIGGER_KEYS", daemon.ExitRefused},
		"no such file":       {path + "x", "PGRESYNC_OPERATOR_SEED_FILE", daemon.ExitUsage},
	} {
		t.Run(what, func(t *testing.T) {
			t.Setenv("PGRESYNC_OPERATOR_SEED_FILE", tc.file)
			// Patroni's user cannot read the node's own.
			if tc.file != "" {
				t.Setenv("PGRESYNC_SIGNING_SEED_FILE", filepath.Join(t.TempDir(), "unreadable"))
			}
			code, complaint := seeds(t, s, patroni...)
			if code != tc.code || !strings.Contains(complaint, tc.says) {
				t.Errorf("exit code %d, want %d, and %q in: %s", code, tc.code, tc.says, complaint)
			}
		})
	}
}

// Two that act on the same datasets must never be.
func TestSeedDoesNotActBesideASidecarThatIsSilent(t *testing.T) {
	s := natstest.Run(t)
	link := standby(t, s, nil)
	err := link.PutStatus(t.Context(), messages.NodeStatus{V: 1, Cluster: "main", Node: "db2", Sidecar: messages.SidecarSecondary, Version: "1", At: time.Now(), Role: messages.RoleDown})
	if err != nil {
		t.Fatal(err)
	}
	if code, complaint := seeds(t, s); code != daemon.ExitConflict || !strings.Contains(complaint, "does not answer") {
		t.Errorf("exit code %d: %s", code, complaint)
	}
}

func TestSeedRefusesArguments(t *testing.T) {
	for arg, want := range map[string]string{
		"--role=primary": "replicas only", "--timeout=soon": "want a duration", "--force": "unknown argument --force", "now": "unexpected argument",
	} {
		if _, _, err := seedArgs([]string{"--datadir", "/d", arg}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", arg, err, want)
		}
	}
	r, timeout, err := seedArgs([]string{"--datadir", "/d", "--full", "--timeout", "2h"})
	if err != nil || r.DataDir != "/d" || !r.Full || timeout != 2*time.Hour {
		t.Errorf("got %+v, %s, %v", r, timeout, err)
	}
}
