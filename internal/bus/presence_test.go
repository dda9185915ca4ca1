package bus_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pgresync/pgresync/internal/bus"
	"github.com/pgresync/pgresync/internal/natstest"
	"github.com/pgresync/pgresync/messages"
)

func status(n messages.NodeName, sidecar string) messages.NodeStatus {
	return messages.NodeStatus{V: 1, Cluster: "main", Node: n, Sidecar: sidecar, At: time.Now().UTC(), Role: messages.RoleStandby}
}

func present(t *testing.T, b *bus.Bus) []string {
	t.Helper()
	all, err := b.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range all {
		out = append(out, string(s.Node)+"/"+s.Sidecar)
	}
	return out
}

func TestPresenceListsEverySidecarOnce(t *testing.T) {
	b := node(t, natstest.Run(t), "db1")
	if got := present(t, b); got != nil {
		t.Errorf("an empty bucket lists %v", got)
	}
	for _, s := range []messages.NodeStatus{status("db2", "secondary"), status("db1", "secondary"), status("db1", "primary"), status("db2", "secondary")} {
		if err := b.PutStatus(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := present(t, b), []string{"db1/primary", "db1/secondary", "db2/secondary"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPresenceExpiresUnlessRenewed(t *testing.T) {
	b := node(t, natstest.Run(t), "db1", func(c *bus.Config) { c.PresenceTTL = time.Second })
	if err := b.PutStatus(t.Context(), status("db1", "primary")); err != nil {
		t.Fatal(err)
	}
	natstest.Eventually(t, patience, "db1 to vanish while db2 stays", func() error {
		if err := b.PutStatus(t.Context(), status("db2", "secondary")); err != nil {
			t.Fatal(err)
		}
		if got := present(t, b); !slices.Equal(got, []string{"db2/secondary"}) {
			return errors.New("not yet")
		}
		return nil
	})
}

func TestPresenceOfANewerBuildDoesNotHideTheOthers(t *testing.T) {
	var seen faults
	s := natstest.Run(t)
	b := node(t, s, "db1", reportTo(&seen))
	kv, err := s.JetStream(t).KeyValue(t.Context(), names.PresenceBucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(t.Context(), messages.NodeKey("db0", "secondary"), []byte(`{"v":2,"mood":"good"}`)); err != nil {
		t.Fatal(err)
	}
	if err := b.PutStatus(t.Context(), status("db1", "primary")); err != nil {
		t.Fatal(err)
	}
	if got := present(t, b); !slices.Equal(got, []string{"db1/primary"}) {
		t.Errorf("got %v", got)
	}
	if seen.count(messages.ErrBadDocument) != 1 {
		t.Error("the record that cannot be read was not reported")
	}
}

// The publisher keeps what a record names: it counts only where its node may write.
func TestRecordsAtAnothersKeyAreLeftOut(t *testing.T) {
	var seen faults
	s := natstest.Run(t)
	b := node(t, s, "db1", reportTo(&seen))
	elsewhere := status("db2", "secondary")
	elsewhere.Cluster = "other"
	of, err := messages.Encode(&elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.PutStatus(t.Context(), status("db3", "secondary")); err != nil {
		t.Fatal(err)
	}
	js := s.JetStream(t)
	nodes, err := js.KeyValue(t.Context(), names.PresenceBucket())
	if err != nil {
		t.Fatal(err)
	}
	honest, err := nodes.Get(t.Context(), messages.NodeKey("db3", "secondary"))
	if err != nil {
		t.Fatal(err)
	}
	for key, body := range map[string][]byte{messages.NodeKey("db4", "secondary"): honest.Value(), messages.NodeKey("db2", "secondary"): of} {
		if _, err := nodes.Put(t.Context(), key, body); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got := present(t, b); !slices.Equal(got, []string{"db3/secondary"}) {
			t.Errorf("got %v", got)
		}
	}
	if n := seen.count(messages.ErrBadDocument); n != 2 {
		t.Errorf("%d reports, want one for each record", n)
	}

	r := record(5)
	if of, err = messages.Encode(&r); err != nil {
		t.Fatal(err)
	}
	state, err := js.KeyValue(t.Context(), names.Bucket())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Put(t.Context(), messages.StreamKey(record(6).Stream), of); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Streams(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestPresenceIsWrittenAgainAfterARestart(t *testing.T) {
	s := natstest.Run(t)
	b := node(t, s, "db1")
	s.Restart()
	natstest.Eventually(t, patience, "the status to be written", func() error {
		return b.PutStatus(t.Context(), status("db1", "primary"))
	})
	if got := present(t, b); !slices.Equal(got, []string{"db1/primary"}) {
		t.Errorf("got %v", got)
	}
}

func record(to messages.GUID) messages.StreamRecord {
	return messages.StreamRecord{
		V: 1, Stream: messages.NewStreamID(to, 0, messages.FlagsPlain, ""), Cluster: "main", Node: "db1", To: to,
		Flags: messages.FlagsPlain, Attempt: messages.NewMessageID(time.Now()), State: messages.StreamRunning, At: time.Now().UTC(),
	}
}

func TestStreamRecordsAreListedBesideTheLease(t *testing.T) {
	b := node(t, natstest.Run(t), "db1")
	campaign(t, b, lease("db1", 1))
	for _, to := range []messages.GUID{5, 6, 5} {
		if err := b.PutStream(t.Context(), record(to)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := b.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].To+got[1].To != 11 {
		t.Errorf("got %+v, want one record each for 5 and 6", got)
	}
}

func TestRecordsSayNotFoundWithoutABucket(t *testing.T) {
	cfg := config(natstest.Run(t).URL(), "db1")
	cfg.Provision = false
	b := join(t, cfg)
	wantErr(t, b.PutStatus(t.Context(), status("db1", "primary")), messages.ErrNotFound)
	_, err := b.Nodes(t.Context())
	wantErr(t, err, messages.ErrNotFound)
}
